# Sealpost: set up the tenant for Contoso Leeds.
# Run this in PowerShell as an administrator of the tenant; running it again does
# no harm. To install the modules:
#   Install-Module Microsoft.Graph.Applications, ExchangeOnlineManagement -Scope CurrentUser

# One block, so that it stops at the first error even if it is pasted.
. {
$ErrorActionPreference = 'Stop'
$name = 'Sealpost Contoso Leeds'
$client = '8b2f1c6e-0d3a-4a55-9b1f-2f0c7f1f9a10'

# The application in Entra ID
Connect-MgGraph -TenantId 'contoso.com' -Scopes 'Application.ReadWrite.All', 'AppRoleAssignment.ReadWrite.All' -NoWelcome
$app = Get-MgApplication -Filter "appId eq '$client'"
if (-not $app) { throw "No app registration of this tenant has the client ID ${client}: check upstream.oauth.client_id" }
$principal = Get-MgServicePrincipal -Filter "appId eq '$client'"
if (-not $principal) { $principal = New-MgServicePrincipal -AppId $client }

# The client secret is shown only once: enter it with: sealpost tenant secret
$known = (Get-MgApplication -ApplicationId $app.Id -Property 'id,passwordCredentials').PasswordCredentials
if (-not ($known | Where-Object { $_.DisplayName -eq $name -and $_.EndDateTime -gt (Get-Date) })) {
  $secret = Add-MgApplicationPassword -ApplicationId $app.Id -PasswordCredential @{ DisplayName = $name; EndDateTime = (Get-Date).AddYears(1) }
  Write-Host ('The client secret, valid until ' + $secret.EndDateTime + ': ' + $secret.SecretText)
}
else { Write-Host ('A client secret ' + $name + ' exists already and cannot be shown again. If it was not entered on a box, delete it under Certificates & secrets of the app registration, and run this again.') }

# The application permission to send, with admin consent
$exchange = Get-MgServicePrincipal -Filter "appId eq '00000002-0000-0ff1-ce00-000000000000'"
$role = $exchange.AppRoles | Where-Object { $_.Value -eq 'SMTP.SendAsApp' }
$given = Get-MgServicePrincipalAppRoleAssignment -ServicePrincipalId $principal.Id -All
if (-not ($given | Where-Object { $_.AppRoleId -eq $role.Id })) {
  New-MgServicePrincipalAppRoleAssignment -ServicePrincipalId $principal.Id -PrincipalId $principal.Id -ResourceId $exchange.Id -AppRoleId $role.Id | Out-Null
}

# The mailboxes that log in
Connect-ExchangeOnline -ShowBanner:$false
$mailboxes = @('relay@contoso.com')

# The service principal in Exchange Online, and its permission for the mailboxes
if (-not (Get-ServicePrincipal | Where-Object { $_.AppId -eq $client })) {
  New-ServicePrincipal -AppId $client -ObjectId $principal.Id -DisplayName $name | Out-Null
}
foreach ($mailbox in $mailboxes) {
  Add-MailboxPermission -Identity $mailbox -User $principal.Id -AccessRights FullAccess -AutoMapping $false -WarningAction SilentlyContinue | Out-Null
  Add-RecipientPermission -Identity $mailbox -Trustee $principal.Id -AccessRights SendAs -Confirm:$false -WarningAction SilentlyContinue | Out-Null
}

# Enable SMTP AUTH, which OAuth needs too. The setting of a mailbox overrides that
# of the tenant.
foreach ($mailbox in $mailboxes) { Set-CASMailbox -Identity $mailbox -SmtpClientAuthenticationDisabled $false -WarningAction SilentlyContinue }

Write-Host 'Done. It can take an hour to take effect in Exchange Online. Then verify it: sealpost tenant verify'
}
