# Sealpost: remove from the tenant what was set up for Contoso Leeds.
# Run this in PowerShell as an administrator of the tenant; running it again does no
# harm. It leaves the app registration and SMTP AUTH of the mailboxes as they are,
# because others may use them; the last lines say how to remove both.

# One block, so that it stops at the first error even if it is pasted.
. {
$ErrorActionPreference = 'Stop'
$whatIf = @{}
$name = 'Sealpost Contoso Leeds'
$client = '8b2f1c6e-0d3a-4a55-9b1f-2f0c7f1f9a10'

Connect-ExchangeOnline -ShowBanner:$false
$mailboxes = @('relay@contoso.com', 'scanner@contoso.com')
# All mailboxes of a domain in own_mailbox
$mailboxes += @(Get-Mailbox -ResultSize Unlimited | ForEach-Object { $_.PrimarySmtpAddress } | Where-Object { $_ -like '*@contoso.co.uk' })
$principal = Get-ServicePrincipal | Where-Object { $_.AppId -eq $client }
if ($principal) {
  Get-ManagementRoleAssignment -RoleAssignee $principal.ObjectId -ErrorAction SilentlyContinue | Where-Object { $_.Name -eq $name } |
    ForEach-Object { Remove-ManagementRoleAssignment -Identity $_.Name -Confirm:$false @whatIf }
  # Permissions of the older setup
  foreach ($mailbox in $mailboxes) {
    if ($whatIf.WhatIf) { Write-Host "What if: removing the application's Full Access and Send As for $mailbox"; continue }
    Remove-MailboxPermission -Identity $mailbox -User $principal.ObjectId -AccessRights FullAccess -Confirm:$false -ErrorAction SilentlyContinue -WarningAction SilentlyContinue
    Remove-RecipientPermission -Identity $mailbox -Trustee $principal.ObjectId -AccessRights SendAs -Confirm:$false -ErrorAction SilentlyContinue -WarningAction SilentlyContinue
  }
  Remove-ServicePrincipal -Identity $principal.ObjectId -Confirm:$false @whatIf
}
Get-ManagementScope | Where-Object { $_.Name -eq $name } | ForEach-Object { Remove-ManagementScope -Identity $_.Name -Confirm:$false @whatIf }

Write-Host 'Done. If nothing else uses them:'
Write-Host '- Remove the app registration in Entra ID, with its certificate and secrets.'
Write-Host '- Turn SMTP AUTH off again for each mailbox: Set-CASMailbox -Identity MAILBOX -SmtpClientAuthenticationDisabled $null'
}
