
# The mailboxes in Exchange Online that log in.
Connect-ExchangeOnline -ShowBanner:$false
$mailboxes = @(%MAILBOXES%)
