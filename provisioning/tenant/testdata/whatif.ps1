# Sealpost: set up the tenant for Contoso Leeds.
# Run this in PowerShell as an administrator of the tenant; running it again does
# no harm. To install the modules:
#   Install-Module Microsoft.Graph.Applications, ExchangeOnlineManagement -Scope CurrentUser

# One block, so that it stops at the first error even if it is pasted.
. {
$ErrorActionPreference = 'Stop'
$whatIf = @{ WhatIf = $true }
$name = 'Sealpost Contoso Leeds'
$client = '8b2f1c6e-0d3a-4a55-9b1f-2f0c7f1f9a10'

# The application in Entra ID
Connect-MgGraph -TenantId 'contoso.com' -Scopes 'Application.ReadWrite.All' -NoWelcome
$app = Get-MgApplication -Filter "appId eq '$client'"
if (-not $app) { throw "No app registration of this tenant has the client ID ${client}: check upstream.oauth.client_id" }
$principal = Get-MgServicePrincipal -Filter "appId eq '$client'"
if (-not $principal) { $principal = New-MgServicePrincipal -AppId $client @whatIf }
if (-not $principal) { throw 'The application has no service principal yet, so the rest cannot be shown: run this without --what-if' }

# Add the certificate of the box to the application.
$certificate = 'bm90IGEgY2VydGlmaWNhdGUsIGJ1dCBpdHMgYnl0ZXM='
$known = @((Get-MgApplication -ApplicationId $app.Id -Property 'id,keyCredentials').KeyCredentials | Where-Object { $_ })
if (-not ($known | Where-Object { $_.Key -and [Convert]::ToBase64String($_.Key) -eq $certificate })) {
  $new = @{ Type = 'AsymmetricX509Cert'; Usage = 'Verify'; DisplayName = $name; Key = [Convert]::FromBase64String($certificate) }
  Update-MgApplication -ApplicationId $app.Id -KeyCredentials ($known + $new) @whatIf
}

# The mailboxes that log in
Connect-ExchangeOnline -ShowBanner:$false
$mailboxes = @('relay@contoso.com', 'scanner@contoso.com')
# All mailboxes of a domain in own_mailbox
$mailboxes += @(Get-Mailbox -ResultSize Unlimited | ForEach-Object { $_.PrimarySmtpAddress } | Where-Object { $_ -like '*@contoso.co.uk' })

# The service principal in Exchange Online, and its right to send from these mailboxes
# only (RBAC for Applications). The application needs no permission in Entra ID.
if (-not (Get-ServicePrincipal | Where-Object { $_.AppId -eq $client })) {
  New-ServicePrincipal -AppId $client -ObjectId $principal.Id -DisplayName $name @whatIf | Out-Null
}
$filter = ($mailboxes | ForEach-Object { "PrimarySmtpAddress -eq '$($_ -replace "'", "''")'" }) -join ' -or '
if (Get-ManagementScope | Where-Object { $_.Name -eq $name }) { Set-ManagementScope -Identity $name -RecipientRestrictionFilter $filter @whatIf }
else { New-ManagementScope -Name $name -RecipientRestrictionFilter $filter @whatIf | Out-Null }
if (-not (Get-ManagementRoleAssignment -RoleAssignee $principal.Id -ErrorAction SilentlyContinue | Where-Object { $_.Name -eq $name })) {
  if ($whatIf.WhatIf) { Write-Host "What if: assigning the role Application SMTP.SendAsApp to the application, for the mailboxes in the scope $name" }
  else { New-ManagementRoleAssignment -Name $name -Role 'Application SMTP.SendAsApp' -App $principal.Id -CustomResourceScope $name | Out-Null }
}
if (-not $whatIf.WhatIf) {
  foreach ($mailbox in $mailboxes) { Test-ServicePrincipalAuthorization -Identity $principal.Id -Resource $mailbox | Format-Table RoleName, AllowedResourceScope, InScope }
}

# Enable SMTP AUTH, which OAuth needs too. The setting of a mailbox overrides that
# of the tenant.
foreach ($mailbox in $mailboxes) { Set-CASMailbox -Identity $mailbox -SmtpClientAuthenticationDisabled $false -WarningAction SilentlyContinue @whatIf }

# Permission to send as another sender. Repeat this for each sender that is not in
# own_mailbox.
Add-RecipientPermission -Identity 'printer@contoso.com' -Trustee 'relay@contoso.com' -AccessRights SendAs -Confirm:$false -WarningAction SilentlyContinue @whatIf | Out-Null

Write-Host 'Done. It can take up to two hours to take effect in Exchange Online. Then verify it: sealpost tenant verify'
}
