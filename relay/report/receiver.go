package report

import (
	"sealpost/relay/envelope"
	"sealpost/relay/reply"
)

// ClassifyReceiver is the Classifier for mail hosts of recipients, which know no tenant:
// their replies concern one message, or all from this site to them, never all mail.
func ClassifyReceiver(r reply.Reply, _ envelope.Address, _ string) (Classification, bool) {
	for _, known := range receiverReplies {
		if known.matches(r) {
			return known.class, true
		}
	}
	return Classification{}, false
}

// receiverReplies are what the big receivers answer to mail that is not authenticated or
// comes from an address that they do not trust. It is searched in order.
var receiverReplies = []knownReply{
	{550, status(5, 7, 515), 0, "", notAuthenticated("Outlook.com demands that SPF and DKIM pass and that DMARC aligns with the author's domain")},
	{550, status(5, 7, 26), 0, "", notAuthenticated("the receiver demands that SPF or DKIM passes for the author's domain")},
	{421, status(4, 7, 26), 0, "", notAuthenticated("the receiver demands that SPF or DKIM passes for the author's domain")},
	{550, status(5, 7, 27), 0, "", notAuthenticated("SPF does not pass for the sender's domain")},
	{421, status(4, 7, 27), 0, "", notAuthenticated("SPF does not pass for the sender's domain")},
	{550, status(5, 7, 30), 0, "", notAuthenticated("DKIM does not pass for the author's domain")},
	{421, status(4, 7, 30), 0, "", notAuthenticated("DKIM does not pass for the author's domain")},
	{550, status(5, 7, 25), 0, "", noReverseDNS},
	{421, status(4, 7, 23), 25, "", noReverseDNS},
	{550, reply.Status{}, 0, "reverse DNS", noReverseDNS},
	{550, reply.Status{}, 0, "PTR record", noReverseDNS},
	{550, status(5, 7, 68), 0, "", Classification{Kind: Message, Cause: "the recipient's tenant rejects direct send", Cure: "send to this domain by a connector or by submission"}},
	{550, status(5, 7, 511), 0, "", siteListed},
	{550, status(5, 7, 606), 649, "", siteListed},
	{550, reply.Status{}, 0, "S3150", siteListed},
	{550, reply.Status{}, 0, "S3140", siteListed},
	{554, reply.Status{}, 0, "spamhaus", siteListed},
	{550, reply.Status{}, 0, "spamhaus", siteListed},
	{451, status(4, 7, 500), 699, "", Classification{Kind: Message, Cause: "the receiver is throttling this site's address", Cure: "wait; sending more makes it worse"}},
	{421, status(4, 7, 28), 0, "", Classification{Kind: Message, Cause: "the receiver is throttling this site's address", Cure: "wait; sending more makes it worse"}},
}

func notAuthenticated(cause string) Classification {
	return Classification{Kind: Message, Cause: cause, Cure: "have SPF, DKIM and DMARC published for the domain, then send it again"}
}

var (
	noReverseDNS = Classification{Kind: Message, Cause: "this site's public address has no reverse DNS that leads back to it", Cure: "ask the internet provider to set it, or send by a connector or by submission"}
	siteListed   = Classification{Kind: Message, Cause: "the receiver blocks this site's public address", Cure: "look it up at the block list that the reply names and ask for its removal, or send by a connector or by submission"}
)
