# Sealpost: what the tenant must be told of Contoso Leeds.
# Run this in PowerShell, as an administrator of the tenant; what is there
# already stays, so it may be run again. The modules, if they are missing:
#   Install-Module Microsoft.Graph.Applications, ExchangeOnlineManagement -Scope CurrentUser

# In one block, so that it stops at the first fault even where it is pasted.
. {
$ErrorActionPreference = 'Stop'
$name = 'Sealpost Contoso Leeds'
$client = '8b2f1c6e-0d3a-4a55-9b1f-2f0c7f1f9a10'

# The application in Entra ID.
Connect-MgGraph -TenantId 'contoso.com' -Scopes 'Application.ReadWrite.All', 'AppRoleAssignment.ReadWrite.All' -NoWelcome
$app = Get-MgApplication -Filter "appId eq '$client'"
if (-not $app) { throw "No app registration of this tenant has the client ID ${client}: check upstream.oauth.client_id" }
$principal = Get-MgServicePrincipal -Filter "appId eq '$client'"
if (-not $principal) { $principal = New-MgServicePrincipal -AppId $client }

# The client secret. It is shown once: enter it with: sealpost tenant secret
$known = (Get-MgApplication -ApplicationId $app.Id -Property 'id,passwordCredentials').PasswordCredentials
if (-not ($known | Where-Object { $_.DisplayName -eq $name -and $_.EndDateTime -gt (Get-Date) })) {
  $secret = Add-MgApplicationPassword -ApplicationId $app.Id -PasswordCredential @{ DisplayName = $name; EndDateTime = (Get-Date).AddYears(1) }
  Write-Host ('The client secret, valid until ' + $secret.EndDateTime + ': ' + $secret.SecretText)
}
else { Write-Host ('There is a client secret ' + $name + ' already, which cannot be shown again. If it was entered in no box, delete it under Certificates & secrets of the app registration, and run this again.') }

# The permission to send, and an administrator's consent to it.
$exchange = Get-MgServicePrincipal -Filter "appId eq '00000002-0000-0ff1-ce00-000000000000'"
$role = $exchange.AppRoles | Where-Object { $_.Value -eq 'SMTP.SendAsApp' }
$given = Get-MgServicePrincipalAppRoleAssignment -ServicePrincipalId $principal.Id -All
if (-not ($given | Where-Object { $_.AppRoleId -eq $role.Id })) {
  New-MgServicePrincipalAppRoleAssignment -ServicePrincipalId $principal.Id -PrincipalId $principal.Id -ResourceId $exchange.Id -AppRoleId $role.Id | Out-Null
}

# The mailboxes in Exchange Online that log in.
Connect-ExchangeOnline -ShowBanner:$false
$mailboxes = @('relay@contoso.com')

# The application in Exchange Online, and its right to those mailboxes.
if (-not (Get-ServicePrincipal | Where-Object { $_.AppId -eq $client })) {
  New-ServicePrincipal -AppId $client -ObjectId $principal.Id -DisplayName $name | Out-Null
}
foreach ($mailbox in $mailboxes) {
  Add-MailboxPermission -Identity $mailbox -User $principal.Id -AccessRights FullAccess -AutoMapping $false -WarningAction SilentlyContinue | Out-Null
  Add-RecipientPermission -Identity $mailbox -Trustee $principal.Id -AccessRights SendAs -Confirm:$false -WarningAction SilentlyContinue | Out-Null
}

# SMTP AUTH, which OAuth needs too; what is set for a mailbox goes before what
# is set for the tenant.
foreach ($mailbox in $mailboxes) { Set-CASMailbox -Identity $mailbox -SmtpClientAuthenticationDisabled $false -WarningAction SilentlyContinue }

Write-Host 'Done. Exchange Online may take an hour to heed it. Then look whether all is there: sealpost tenant verify'
}
