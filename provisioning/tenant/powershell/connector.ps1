# Sealpost: set up the tenant for %SITE%.
# Run this in PowerShell as an Exchange administrator of the tenant; running it
# again does no harm. To install the module:
#   Install-Module ExchangeOnlineManagement -Scope CurrentUser

# One block, so that it stops at the first error even if it is pasted.
. {
$ErrorActionPreference = 'Stop'
$whatIf = @{%WHATIF%}
$name = %NAME%

Connect-ExchangeOnline -ShowBanner:$false%EXCHANGE%
$rules = @{
  ConnectorType            = 'OnPremises'
  SenderDomains            = '*'
  RequireTls               = $true
  TlsSenderCertificateName = %CERTIFICATE%
  Enabled                  = $true
}
if (Get-InboundConnector | Where-Object { $_.Name -eq $name }) { Set-InboundConnector -Identity $name @rules @whatIf }
else { New-InboundConnector -Name $name @rules @whatIf | Out-Null }
$connector = Get-InboundConnector | Where-Object { $_.Name -eq $name }
if ($connector -and -not $connector.Enabled) {
  Write-Host 'Exchange Online has created the connector disabled, as it does for many small tenants. Ask Microsoft Support to enable inbound connectors for the tenant, or use submission instead (upstream.method).'
}

Write-Host %DONE%
}
