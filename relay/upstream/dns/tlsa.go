package dns

import (
	"context"
	"fmt"
	"strings"

	"golang.org/x/net/dns/dnsmessage"
)

// TLSA is one record that names the certificate of a service (RFC 6698 section 2.1).
type TLSA struct {
	Usage, Selector, MatchingType uint8
	Data                          []byte
}

// typeTLSA is the type of TLSA records (RFC 6698 section 7.1).
const typeTLSA dnsmessage.Type = 52

// LookupTLSA returns the TLSA records of a TCP port of a host, none if there are none.
// validated reports whether the name server says that it has validated the answer by
// DNSSEC (the AD bit, RFC 6840 section 5.7). That is worth as much as the server and the
// path to it are trusted.
func (r *Resolver) LookupTLSA(ctx context.Context, host string, port uint16) (records []TLSA, validated bool, err error) {
	found, err := r.query(ctx, fmt.Sprintf("_%d._tcp.%s", port, strings.TrimSuffix(host, ".")), typeTLSA)
	if err != nil {
		return nil, false, fmt.Errorf("looking up TLSA records of %s: %w", host, err)
	}
	for _, body := range found.records {
		if unknown, ok := body.(*dnsmessage.UnknownResource); ok {
			if record, ok := parseTLSA(unknown.Data); ok {
				records = append(records, record)
			}
		}
	}
	return records, found.validated, nil
}

func parseTLSA(data []byte) (TLSA, bool) {
	const fields = 3
	if len(data) <= fields {
		return TLSA{}, false
	}
	return TLSA{data[0], data[1], data[2], data[fields:]}, true
}
