
# The service principal in Exchange Online, and its permission for the mailboxes
if (-not (Get-ServicePrincipal | Where-Object { $_.AppId -eq $client })) {
  New-ServicePrincipal -AppId $client -ObjectId $principal.Id -DisplayName $name @whatIf | Out-Null
}
foreach ($mailbox in $mailboxes) {
  if ($whatIf.WhatIf) { Write-Host "What if: giving the application Full Access and Send As for $mailbox"; continue }
  Add-MailboxPermission -Identity $mailbox -User $principal.Id -AccessRights FullAccess -AutoMapping $false -WarningAction SilentlyContinue | Out-Null
  Add-RecipientPermission -Identity $mailbox -Trustee $principal.Id -AccessRights SendAs -Confirm:$false -WarningAction SilentlyContinue | Out-Null
}
