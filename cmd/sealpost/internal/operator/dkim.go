package operator

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"sealpost/cmd/sealpost/internal/wire"
	"sealpost/hal/fault"
	"sealpost/provisioning/dkimkey"
	"sealpost/provisioning/keyring"
	api "sealpost/provisioning/operator"
)

// DKIMRecord is a key record as a command prints it.
type DKIMRecord struct {
	dkimkey.Record
	Zone string `json:"zone"` // the line of a zone file
}

// DKIMRecords are the records of keys to publish.
type DKIMRecords struct {
	Keys    string       `json:"keys"`
	Records []DKIMRecord `json:"records"`
}

func (r DKIMRecords) String() string {
	var zone, form strings.Builder
	for _, record := range r.Records {
		fmt.Fprintf(&zone, "%s\n", record.Zone)
		fmt.Fprintf(&form, "\nname   %s\nvalue  %s\n", record.Name, record.Value)
	}
	return fmt.Sprintf("; the DKIM records of %s, for a zone file\n%s\nfor a web form, as type TXT\n%s", r.Keys, zone.String(), form.String())
}

// DKIMKey describes a key.
type DKIMKey struct {
	Algorithm  dkimkey.Algorithm  `json:"algorithm"`
	Selector   string             `json:"selector"`
	Protection keyring.Protection `json:"protection"`
}

// DKIMSet describes the keys that were made together.
type DKIMSet struct {
	Name      string    `json:"name"`
	State     string    `json:"state"` // "active", "next" or "old"
	Created   time.Time `json:"created"`
	Activated time.Time `json:"activated,omitzero"`
	Replaced  time.Time `json:"replaced,omitzero"`
	Domains   []string  `json:"domains,omitempty"`
	Keys      []DKIMKey `json:"keys"`
}

// DKIMKeys describes all keys, and what is to be done.
type DKIMKeys struct {
	Sets []DKIMSet `json:"sets"`
	Next string    `json:"todo,omitempty"`
}

func (k DKIMKeys) String() string {
	var b strings.Builder
	for _, set := range k.Sets {
		fmt.Fprintf(&b, "%-8s %s", set.State, set.Name)
		switch {
		case !set.Replaced.IsZero():
			fmt.Fprintf(&b, ", signed until %s", set.Replaced.Local().Format(time.DateTime))
		case !set.Activated.IsZero():
			fmt.Fprintf(&b, ", signs since %s for %s", set.Activated.Local().Format(time.DateTime), strings.Join(set.Domains, ", "))
		}
		b.WriteByte('\n')
		for _, key := range set.Keys {
			fmt.Fprintf(&b, "         %s: %s, %s\n", key.Selector, key.Algorithm, key.Protection)
		}
	}
	return b.String() + k.Next
}

func describeDKIM(keys dkimkey.Keys) DKIMKeys {
	all := DKIMKeys{Sets: []DKIMSet{}}
	for _, each := range []struct {
		state string
		set   *dkimkey.Set
	}{{"active", keys.Active}, {"next", keys.Next}, {"old", keys.Old}} {
		if each.set == nil {
			continue
		}
		s := DKIMSet{Name: each.set.Name, State: each.state, Created: each.set.Created, Activated: each.set.Activated, Replaced: each.set.Replaced, Domains: each.set.Domains}
		for _, key := range each.set.Keys {
			s.Keys = append(s.Keys, DKIMKey{key.Algorithm, key.Selector, key.Private.Protection})
		}
		all.Sets = append(all.Sets, s)
	}
	switch {
	case keys.Next != nil && keys.Active == nil:
		all.Next = "mail is sent without a signature until the records of the next keys are published and the keys activated"
	case keys.Next != nil:
		all.Next = "publish the records of the next keys, and activate them"
	case keys.Old != nil:
		all.Next = "leave the old records in place, and retire the old keys after " + keys.Old.Replaced.Add(dkimkey.InFlight).Local().Format(time.DateOnly)
	}
	return all
}

// ShowDKIM describes the DKIM keys.
func ShowDKIM(ctx context.Context, b *wire.Box) (fmt.Stringer, error) {
	keys, err := dkimkey.Load(ctx, b.Store)
	if err == nil && keys.Pending() == nil {
		err = dkimkey.ErrNone
	}
	return describeDKIM(keys), err
}

// DKIMRecordsOf returns the records to publish: those of the next keys, or else of the
// active ones. It makes keys if there are none.
func DKIMRecordsOf(ctx context.Context, b *wire.Box) (fmt.Stringer, error) {
	keys, err := dkimkey.Load(ctx, b.Store)
	if err != nil {
		return nil, err
	}
	if keys.Pending() == nil {
		return RotateDKIM(ctx, b, false)
	}
	return recordsOf(*keys.Pending(), b)
}

func recordsOf(set dkimkey.Set, b *wire.Box) (fmt.Stringer, error) {
	records, err := set.Records(dkimDomains(b))
	all := DKIMRecords{Keys: set.Name}
	for _, r := range records {
		all.Records = append(all.Records, DKIMRecord{r, r.Zone()})
	}
	return all, err
}

// errNoDomains is the error of a box without a domain to sign for.
var errNoDomains = errors.New("there is no domain to sign for: set senders.accepted_domains or upstream.direct.dkim.domains")

func dkimDomains(b *wire.Box) (domains []string) {
	for _, domain := range b.Settings.DKIMDomains() {
		domains = append(domains, string(domain))
	}
	return domains
}

// RotateDKIM makes the next keys and returns their records. With replace it replaces next
// keys that were made before.
func RotateDKIM(ctx context.Context, b *wire.Box, replace bool) (fmt.Stringer, error) {
	if len(dkimDomains(b)) == 0 {
		return nil, errNoDomains
	}
	section := b.Settings.Upstream.Direct.DKIM
	var algorithms []dkimkey.Algorithm
	for _, algorithm := range section.Algorithms {
		algorithms = append(algorithms, dkimkey.Algorithm(algorithm))
	}
	keys, err := dkimkey.Rotate(ctx, b.Store, b.DKIMGenerator(), string(section.Selector), algorithms, time.Now(), replace)
	if err != nil {
		return nil, err
	}
	return recordsOf(*keys.Next, b)
}

// ActivateDKIM makes the next keys sign if all their records are published, or the active
// ones in further domains. Otherwise its fault names those that are not.
func ActivateDKIM(ctx context.Context, b *wire.Box) (fmt.Stringer, error) {
	keys, err := dkimkey.Load(ctx, b.Store)
	if err != nil {
		return nil, err
	}
	set, domains := keys.Pending(), dkimDomains(b)
	switch {
	case set == nil:
		return nil, dkimkey.ErrNone
	case len(domains) == 0:
		return nil, errNoDomains
	}
	found, err := set.Compare(ctx, domains, b.DKIMLookup())
	if err != nil {
		return nil, err
	}
	var missing []string
	for _, record := range found {
		text := record.Name + " " + record.Reason()
		if record.Unknown {
			return nil, errors.New(text)
		}
		if record.Err != nil {
			missing = append(missing, text)
		}
	}
	if len(missing) > 0 {
		return nil, fault.New(fault.DKIMUnpublished, strings.Join(missing, "; "))
	}
	keys, err = dkimkey.Activate(ctx, b.Store, set.Name, domains, time.Now())
	return describeDKIM(keys), err
}

// DKIMRetired names the records that may be removed.
type DKIMRetired struct {
	Retired string   `json:"retired"`
	Records []string `json:"records"`
}

func (r DKIMRetired) String() string {
	return fmt.Sprintf("%s is retired; remove these TXT records from DNS:\n%s", r.Retired, strings.Join(r.Records, "\n"))
}

// RetireDKIM deletes the old keys. Without force it refuses while mail that they signed may
// be on its way.
func RetireDKIM(ctx context.Context, b *wire.Box, force bool) (fmt.Stringer, error) {
	set, err := dkimkey.Retire(ctx, b.Store, time.Now(), force)
	if err != nil {
		return nil, err
	}
	records, err := set.Records(set.Domains)
	retired := DKIMRetired{Retired: set.Name}
	for _, r := range records {
		retired.Records = append(retired.Records, r.Name)
	}
	return retired, err
}

// DKIM implements [api.Box].
func (l Local) DKIM(ctx context.Context, action api.DKIMAction) (string, error) {
	command := l.command("dkim", string(action))
	switch action {
	case api.DKIMRecord, api.DKIMRotate:
		return textOf[DKIMRecords](ctx, command)
	case api.DKIMRetire:
		return textOf[DKIMRetired](ctx, command)
	}
	return textOf[DKIMKeys](ctx, command)
}

// textOf runs a command of this program, and returns its result as a person reads it.
func textOf[T fmt.Stringer](ctx context.Context, command []string) (string, error) {
	result, err := singleValue[T](ctx, command, "")
	if err != nil {
		return "", err
	}
	return result.String(), nil
}
