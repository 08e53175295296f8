
# Whom else the mailbox may send as. Say the same of every sender that is not
# in own_mailbox.
Add-RecipientPermission -Identity %SENDER% -Trustee %MAILBOX% -AccessRights SendAs -Confirm:$false -WarningAction SilentlyContinue | Out-Null
