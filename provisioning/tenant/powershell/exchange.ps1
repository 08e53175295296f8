
# The mailboxes that log in
Connect-ExchangeOnline -ShowBanner:$false%EXCHANGE%
$mailboxes = @(%MAILBOXES%)
