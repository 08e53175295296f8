
# The service principal in Exchange Online, and its right to send from these mailboxes
# only (RBAC for Applications). The application needs no permission in Entra ID.
if (-not (Get-ServicePrincipal | Where-Object { $_.AppId -eq $client })) {
  New-ServicePrincipal -AppId $client -ObjectId $principal.Id -DisplayName $name @whatIf | Out-Null
}
$filter = ($mailboxes | ForEach-Object { "PrimarySmtpAddress -eq '$($_ -replace "'", "''")'" }) -join ' -or '
if (Get-ManagementScope | Where-Object { $_.Name -eq $name }) { Set-ManagementScope -Identity $name -RecipientRestrictionFilter $filter @whatIf }
else { New-ManagementScope -Name $name -RecipientRestrictionFilter $filter @whatIf | Out-Null }
if (-not (Get-ManagementRoleAssignment -RoleAssignee $principal.Id -ErrorAction SilentlyContinue | Where-Object { $_.Name -eq $name })) {
  if ($whatIf.WhatIf) { Write-Host "What if: assigning the role Application SMTP.SendAsApp to the application, for the mailboxes in the scope $name" }
  else { New-ManagementRoleAssignment -Name $name -Role 'Application SMTP.SendAsApp' -App $principal.Id -CustomResourceScope $name | Out-Null }
}
if (-not $whatIf.WhatIf) {
  foreach ($mailbox in $mailboxes) { Test-ServicePrincipalAuthorization -Identity $principal.Id -Resource $mailbox | Format-Table RoleName, AllowedResourceScope, InScope }
}
