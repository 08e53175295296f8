
# The application permission to send, with admin consent
$exchange = Get-MgServicePrincipal -Filter "appId eq '00000002-0000-0ff1-ce00-000000000000'"
$role = $exchange.AppRoles | Where-Object { $_.Value -eq 'SMTP.SendAsApp' }
$given = Get-MgServicePrincipalAppRoleAssignment -ServicePrincipalId $principal.Id -All
if (-not ($given | Where-Object { $_.AppRoleId -eq $role.Id })) {
  New-MgServicePrincipalAppRoleAssignment -ServicePrincipalId $principal.Id -PrincipalId $principal.Id -ResourceId $exchange.Id -AppRoleId $role.Id @whatIf | Out-Null
}
