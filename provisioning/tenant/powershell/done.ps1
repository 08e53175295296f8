
Write-Host %DONE%
}
