
Write-Host 'Done. Exchange Online may take an hour to heed it. Then look whether all is there: sealpost tenant verify'
}
