
# The client secret is shown only once: %SECRET%
$known = (Get-MgApplication -ApplicationId $app.Id -Property 'id,passwordCredentials').PasswordCredentials
if (-not ($known | Where-Object { $_.DisplayName -eq $name -and $_.EndDateTime -gt (Get-Date) })) {
  $secret = Add-MgApplicationPassword -ApplicationId $app.Id -PasswordCredential @{ DisplayName = $name; EndDateTime = (Get-Date).AddYears(1) } @whatIf
  if ($secret) { Write-Host ('The client secret, valid until ' + $secret.EndDateTime + ': ' + $secret.SecretText) }
}
else { Write-Host ('A client secret ' + $name + ' exists already and cannot be shown again. If it was not entered on a box, delete it under Certificates & secrets of the app registration, and run this again.') }
