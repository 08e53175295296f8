# Sealpost: register the application by which Entra ID knows the box.
# Run this once in PowerShell, as an administrator of the tenant who may
# register applications. The modules, if they are missing:
#   Install-Module Microsoft.Graph.Applications -Scope CurrentUser

# In one block, so that it stops at the first fault even where it is pasted.
. {
$ErrorActionPreference = 'Stop'
Connect-MgGraph -Scopes 'Application.ReadWrite.All' -NoWelcome
$app = New-MgApplication -DisplayName 'Sealpost Contoso Leeds' -SignInAudience 'AzureADMyOrg'
Write-Host 'Put this into the settings, and run sealpost tenant script next:'
Write-Host ''
Write-Host '[upstream.oauth]'
Write-Host ('tenant = "' + (Get-MgContext).TenantId + '"')
Write-Host ('client_id = "' + $app.AppId + '"')
}
