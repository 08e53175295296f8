# Sealpost: what the tenant must be told of %WHAT%.
# Run this in PowerShell, as an administrator of the tenant; what is there
# already stays, so it may be run again. The modules, if they are missing:
#   Install-Module Microsoft.Graph.Applications, ExchangeOnlineManagement -Scope CurrentUser

# In one block, so that it stops at the first fault even where it is pasted.
. {
$ErrorActionPreference = 'Stop'
$name = %NAME%
$client = %CLIENT%

# The application in Entra ID.
Connect-MgGraph -TenantId %TENANT% -Scopes 'Application.ReadWrite.All', 'AppRoleAssignment.ReadWrite.All' -NoWelcome
$app = Get-MgApplication -Filter "appId eq '$client'"
if (-not $app) { throw "No app registration of this tenant has the client ID ${client}: check upstream.oauth.client_id" }
$principal = Get-MgServicePrincipal -Filter "appId eq '$client'"
if (-not $principal) { $principal = New-MgServicePrincipal -AppId $client }
