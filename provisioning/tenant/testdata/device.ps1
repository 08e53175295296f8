# Sealpost: set up the tenant for Contoso Leeds.
# Run this in PowerShell as an administrator of the tenant; running it again does
# no harm. To install the modules:
#   Install-Module Microsoft.Graph.Applications, ExchangeOnlineManagement -Scope CurrentUser

# One block, so that it stops at the first error even if it is pasted.
. {
$ErrorActionPreference = 'Stop'
$whatIf = @{}
$name = 'Sealpost Contoso Leeds'
$client = '8b2f1c6e-0d3a-4a55-9b1f-2f0c7f1f9a10'

# The application in Entra ID
Connect-MgGraph -TenantId 'contoso.com' -Scopes 'Application.ReadWrite.All' -NoWelcome
$app = Get-MgApplication -Filter "appId eq '$client'"
if (-not $app) { throw "No app registration of this tenant has the client ID ${client}: check upstream.oauth.client_id" }
$principal = Get-MgServicePrincipal -Filter "appId eq '$client'"
if (-not $principal) { $principal = New-MgServicePrincipal -AppId $client @whatIf }
if (-not $principal) { throw 'The application has no service principal yet, so the rest cannot be shown: run this without --what-if' }

# Allow the sign-in with a device code. The person who signs in, or an
# administrator, is asked for consent.
Update-MgApplication -ApplicationId $app.Id -IsFallbackPublicClient @whatIf

# The mailboxes that log in
Connect-ExchangeOnline -ShowBanner:$false
$mailboxes = @('relay@contoso.com')

# Enable SMTP AUTH, which OAuth needs too. The setting of a mailbox overrides that
# of the tenant.
foreach ($mailbox in $mailboxes) { Set-CASMailbox -Identity $mailbox -SmtpClientAuthenticationDisabled $false -WarningAction SilentlyContinue @whatIf }

Write-Host 'Done. It can take up to two hours to take effect in Exchange Online. Then verify it: sealpost tenant verify'
}
