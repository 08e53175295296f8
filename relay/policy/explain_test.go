package policy

import (
	"testing"

	"sealpost/relay/envelope"
)

func TestDecision_NamesEachSettingOnce(t *testing.T) {
	for _, c := range []struct {
		request Request
		want    string
	}{
		{Request{Client: client("192.168.10.21"), Sender: "a@gmail.com", Recipients: []envelope.Address{"a@contoso.com"}},
			`client     192.168.10.21 may connect  [device 192.168.10.16/28]
sender     <a@gmail.com> becomes <floor2+lobby@contoso.com>  [sender of device 192.168.10.16/28, tag of device 192.168.10.16/28]
recipient  <a@contoso.com> is accepted
result     it would be sent from <floor2+lobby@contoso.com> to <a@contoso.com>`},
		{Request{Client: client("192.168.10.20"), Sender: "canon@contoso.com", Recipients: []envelope.Address{"a@fabrikam.com"}},
			`client     192.168.10.20 may connect  [device 192.168.10.20]
sender     <canon@contoso.com> stays
recipient  refused: 550 5.7.1 192.168.10.20 may not send to <a@fabrikam.com> (recipients of device 192.168.10.20)
result     nothing would be sent`},
	} {
		if got := site().Decide(c.request).String(); got != c.want {
			t.Errorf("got\n%s\nwant\n%s", got, c.want)
		}
	}
}
