# Sealpost: remove from the tenant what was set up for this box.
# Run this in PowerShell as an Exchange administrator of the tenant; running it again
# does no harm.

# One block, so that it stops at the first error even if it is pasted.
. {
$ErrorActionPreference = 'Stop'
$whatIf = @{}
$name = 'Sealpost relay.contoso.com'

Connect-ExchangeOnline -ShowBanner:$false
Get-InboundConnector | Where-Object { $_.Name -eq $name } | ForEach-Object { Remove-InboundConnector -Identity $_.Name -Confirm:$false @whatIf }

Write-Host 'Done.'
}
