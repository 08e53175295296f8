
# SMTP AUTH, which OAuth needs too; what is set for a mailbox goes before what
# is set for the tenant.
foreach ($mailbox in $mailboxes) { Set-CASMailbox -Identity $mailbox -SmtpClientAuthenticationDisabled $false -WarningAction SilentlyContinue }
