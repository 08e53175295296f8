# Sealpost: register the application of the box in Entra ID.
# Run this once in PowerShell as an administrator of the tenant who may register
# applications. To install the module:
#   Install-Module Microsoft.Graph.Applications -Scope CurrentUser

# One block, so that it stops at the first error even if it is pasted.
. {
$ErrorActionPreference = 'Stop'
Connect-MgGraph -Scopes 'Application.ReadWrite.All' -NoWelcome%GRAPH%
$app = New-MgApplication -DisplayName %NAME% -SignInAudience 'AzureADMyOrg'
Write-Host 'Add this to the settings, then run sealpost tenant script:'
Write-Host ''
%CLOUD%Write-Host '[upstream.oauth]'
Write-Host ('tenant = "' + (Get-MgContext).TenantId + '"')
Write-Host ('client_id = "' + $app.AppId + '"')
}
