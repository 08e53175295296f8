$mailboxes += (Get-Mailbox -ResultSize Unlimited | Where-Object { $_.PrimarySmtpAddress -like %PATTERN% }).PrimarySmtpAddress
