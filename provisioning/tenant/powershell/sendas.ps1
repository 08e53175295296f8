
# Permission to send as another sender. Repeat this for each sender that is not in
# own_mailbox.
Add-RecipientPermission -Identity %SENDER% -Trustee %MAILBOX% -AccessRights SendAs -Confirm:$false -WarningAction SilentlyContinue @whatIf | Out-Null
