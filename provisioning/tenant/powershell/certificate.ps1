
# Add the certificate of the box to the application.
$certificate = %CERTIFICATE%
$known = @((Get-MgApplication -ApplicationId $app.Id -Property 'id,keyCredentials').KeyCredentials | Where-Object { $_ })
if (-not ($known | Where-Object { $_.Key -and [Convert]::ToBase64String($_.Key) -eq $certificate })) {
  $new = @{ Type = 'AsymmetricX509Cert'; Usage = 'Verify'; DisplayName = $name; Key = [Convert]::FromBase64String($certificate) }
  Update-MgApplication -ApplicationId $app.Id -KeyCredentials ($known + $new) @whatIf
}
