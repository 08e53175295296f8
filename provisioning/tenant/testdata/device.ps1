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

# The sign-in by device code. Who signs in is asked for consent, or an
# administrator is.
Update-MgApplication -ApplicationId $app.Id -IsFallbackPublicClient

# The mailboxes in Exchange Online that log in.
Connect-ExchangeOnline -ShowBanner:$false
$mailboxes = @('relay@contoso.com')

# SMTP AUTH, which OAuth needs too; what is set for a mailbox goes before what
# is set for the tenant.
foreach ($mailbox in $mailboxes) { Set-CASMailbox -Identity $mailbox -SmtpClientAuthenticationDisabled $false -WarningAction SilentlyContinue }

Write-Host 'Done. Exchange Online may take an hour to heed it. Then look whether all is there: sealpost tenant verify'
}
