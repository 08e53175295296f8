
# Enable SMTP AUTH, which OAuth needs too. The setting of a mailbox overrides that
# of the tenant.
foreach ($mailbox in $mailboxes) { Set-CASMailbox -Identity $mailbox -SmtpClientAuthenticationDisabled $false -WarningAction SilentlyContinue @whatIf }
