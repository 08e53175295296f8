
Write-Host 'Done. Exchange Online may take an hour to heed it. Then run: sealpost tenant verify'
