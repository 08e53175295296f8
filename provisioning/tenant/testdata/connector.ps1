# Sealpost: what the tenant must be told of this box.
# Run this in PowerShell, as an Exchange administrator of the tenant; it may be
# run again. The module, if it is missing:
#   Install-Module ExchangeOnlineManagement -Scope CurrentUser

# In one block, so that it stops at the first fault even where it is pasted.
. {
$ErrorActionPreference = 'Stop'
$name = 'Sealpost relay.contoso.com'

Connect-ExchangeOnline -ShowBanner:$false
$rules = @{
  ConnectorType                = 'OnPremises'
  SenderDomains                = '*'
  RequireTls                   = $true
  RestrictDomainsToCertificate = $false
  TlsSenderCertificateName     = 'relay.contoso.com'
  Enabled                      = $true
}
if (Get-InboundConnector | Where-Object { $_.Name -eq $name }) { Set-InboundConnector -Identity $name @rules }
else { New-InboundConnector -Name $name @rules | Out-Null }

Write-Host 'Done. Exchange Online may take an hour to heed it. Then look whether all is there: sealpost check'
}
