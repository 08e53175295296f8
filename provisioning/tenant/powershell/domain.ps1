# All mailboxes of a domain in own_mailbox
$mailboxes += @(Get-Mailbox -ResultSize Unlimited | ForEach-Object { $_.PrimarySmtpAddress } | Where-Object { $_ -like %PATTERN% })
