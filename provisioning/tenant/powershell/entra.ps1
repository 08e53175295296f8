# Sealpost: set up the tenant for %SITE%.
# Run this in PowerShell as an administrator of the tenant; running it again does
# no harm. To install the modules:
#   Install-Module Microsoft.Graph.Applications, ExchangeOnlineManagement -Scope CurrentUser

# One block, so that it stops at the first error even if it is pasted.
. {
$ErrorActionPreference = 'Stop'
$whatIf = @{%WHATIF%}
$name = %NAME%
$client = %CLIENT%

# The application in Entra ID
Connect-MgGraph -TenantId %TENANT% -Scopes %SCOPES% -NoWelcome%GRAPH%
$app = Get-MgApplication -Filter "appId eq '$client'"
if (-not $app) { throw "No app registration of this tenant has the client ID ${client}: check upstream.oauth.client_id" }
$principal = Get-MgServicePrincipal -Filter "appId eq '$client'"
if (-not $principal) { $principal = New-MgServicePrincipal -AppId $client @whatIf }
if (-not $principal) { throw 'The application has no service principal yet, so the rest cannot be shown: run this without --what-if' }
