# Sealpost: set up the tenant for %SITE%.
# Run this in PowerShell as an Exchange administrator of the tenant; running it
# again does no harm. To install the module:
#   Install-Module ExchangeOnlineManagement -Scope CurrentUser

# One block, so that it stops at the first error even if it is pasted.
. {
$ErrorActionPreference = 'Stop'
$name = %NAME%

Connect-ExchangeOnline -ShowBanner:$false%EXCHANGE%
$rules = @{
  ConnectorType                = 'OnPremises'
  SenderDomains                = '*'
  RequireTls                   = $true
  RestrictDomainsToCertificate = $false
  TlsSenderCertificateName     = %CERTIFICATE%
  Enabled                      = $true
}
if (Get-InboundConnector | Where-Object { $_.Name -eq $name }) { Set-InboundConnector -Identity $name @rules }
else { New-InboundConnector -Name $name @rules | Out-Null }

Write-Host %DONE%
}
