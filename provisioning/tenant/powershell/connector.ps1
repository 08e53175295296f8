# Sealpost: what the tenant must be told of %WHAT%.
# Run this in PowerShell, as an Exchange administrator of the tenant; it may be
# run again. The module, if it is missing:
#   Install-Module ExchangeOnlineManagement -Scope CurrentUser

# In one block, so that it stops at the first fault even where it is pasted.
. {
$ErrorActionPreference = 'Stop'
$name = %NAME%

Connect-ExchangeOnline -ShowBanner:$false
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
