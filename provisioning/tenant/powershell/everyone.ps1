# All mailboxes of a domain, as own_mailbox has it.
$mailboxes += @(Get-Mailbox -ResultSize Unlimited | ForEach-Object { $_.PrimarySmtpAddress } | Where-Object { $_ -like %PATTERN% })
