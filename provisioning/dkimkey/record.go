package dkimkey

import (
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Record is a key record as it is published in DNS.
type Record struct {
	Name  string `json:"name"` // without the final dot
	Value string `json:"value"`
}

// Records returns the key records of a set in its domains.
func (s Set) Records(domains []string) (all []Record, err error) {
	for _, domain := range domains {
		for _, key := range s.Keys {
			value, err := key.record()
			if err != nil {
				return nil, err
			}
			all = append(all, Record{key.Selector + "._domainkey." + domain, value})
		}
	}
	return all, nil
}

// record returns the value of the key record (RFC 6376 section 3.6.1, RFC 8463 section 4).
func (k Key) record() (string, error) {
	public := k.Public
	if k.Algorithm == Ed25519 {
		parsed, err := x509.ParsePKIXPublicKey(k.Public)
		raw, ok := parsed.(ed25519.PublicKey)
		if err != nil || !ok {
			return "", fmt.Errorf("the stored public key of %s is damaged: rotate the keys", k.Selector)
		}
		public = raw
	}
	return fmt.Sprintf("v=DKIM1; k=%s; p=%s", k.Algorithm, base64.StdEncoding.EncodeToString(public)), nil
}

// maxString is the number of octets of a string in a TXT record (RFC 1035 section 3.3).
const maxString = 255

// Zone returns the record as a line of a zone file, with its value in strings of at most
// 255 octets (RFC 6376 section 3.6.2.2).
func (r Record) Zone() string {
	var quoted []string
	for part := range slices.Chunk([]byte(r.Value), maxString) {
		quoted = append(quoted, `"`+string(part)+`"`)
	}
	return fmt.Sprintf("%s. 3600 IN TXT ( %s )", r.Name, strings.Join(quoted, " "))
}

// Errors of Compare.
var (
	errUnpublished = errors.New("is not published")
	errSeveral     = errors.New("is published more than once: remove the other TXT records")
	errRevoked     = errors.New("is published without a key, which revokes it")
	errOtherKey    = errors.New("is published with another key")
)

// Compare returns an error unless the texts of a name in DNS are this record, written in
// any form that has the same meaning.
func (r Record) Compare(texts []string) error {
	switch len(texts) {
	case 0:
		return errUnpublished
	case 1:
	default:
		return errSeveral
	}
	want, found := tags(r.Value), tags(texts[0])
	p, hasKey := found["p"]
	switch version, given := found["v"]; {
	case given && version != "DKIM1" || !hasKey:
		return fmt.Errorf("is published as something else than a key record: %.60q", texts[0])
	case p == "":
		return errRevoked
	case p != want["p"] || orDefault(found, "k", string(RSA)) != want["k"]:
		return errOtherKey
	case !listed(found, "h", "sha256"):
		return fmt.Errorf("is published with h=%.40s, which excludes sha256", found["h"])
	case !listed(found, "s", "email") && !listed(found, "s", "*"):
		return fmt.Errorf("is published with s=%.40s, which excludes mail", found["s"])
	}
	return nil
}

// tags parses a tag list (RFC 6376 section 3.2), without white space in values.
func tags(text string) map[string]string {
	all := make(map[string]string)
	for tag := range strings.SplitSeq(text, ";") {
		name, value, found := strings.Cut(tag, "=")
		if found {
			all[strings.TrimSpace(name)] = strings.Join(strings.Fields(value), "")
		}
	}
	return all
}

func orDefault(tags map[string]string, name, value string) string {
	if given, found := tags[name]; found {
		return given
	}
	return value
}

// listed reports whether a tag lists a value, or is missing.
func listed(tags map[string]string, name, value string) bool {
	list, found := tags[name]
	return !found || slices.Contains(strings.Split(list, ":"), value)
}

// Lookup returns the TXT records of a name, each with its strings joined; none is no error.
type Lookup func(ctx context.Context, name string) ([]string, error)

// Published is the result of a comparison with DNS.
type Published struct {
	Record
	Err     error // nil if it is published
	Unknown bool  // Err is that of the lookup
}

// Reason says why the record counts as missing; empty if it is published.
func (p Published) Reason() string {
	switch {
	case p.Err == nil:
		return ""
	case p.Unknown:
		return "cannot be looked up: " + p.Err.Error()
	}
	return p.Err.Error()
}

// Compare looks up the records of the set in the domains.
func (s Set) Compare(ctx context.Context, domains []string, lookup Lookup) ([]Published, error) {
	records, err := s.Records(domains)
	if err != nil {
		return nil, err
	}
	var all []Published
	for _, r := range records {
		p := Published{Record: r}
		texts, err := lookup(ctx, r.Name)
		if p.Unknown = err != nil; !p.Unknown {
			err = r.Compare(texts)
		}
		p.Err = err
		all = append(all, p)
	}
	return all, nil
}
