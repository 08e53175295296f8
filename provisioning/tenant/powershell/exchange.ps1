
# The mailboxes that log in
Connect-ExchangeOnline -ShowBanner:$false
$mailboxes = @(%MAILBOXES%)
