package oauth

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"sync"
	"time"
)

// Kind says what helps against a fault.
type Kind string

// The kinds of faults.
const (
	Configuration Kind = "configuration" // somebody must change something
	Wait          Kind = "wait"          // it may pass by itself
)

// Fault is why there is no token. It holds nothing secret, and of what the
// issuer wrote nothing but codes that are known.
type Fault struct {
	Kind Kind
	// Code is Entra ID's, such as AADSTS700027, or else that of RFC 6749 (5.2);
	// empty where the issuer gave none that is known.
	Code  string
	Words string // what is wrong and what to do, for a technician
	// RetryAfter is how long it makes no sense to ask again; zero if nobody said.
	RetryAfter time.Duration
	Err        error // of the box's own parts, such as its key; else nil

	invalidGrant bool // what was shown as grant was refused (invalid_grant)
}

func (f *Fault) Error() string {
	text := f.Words
	if f.Code != "" {
		text += " (" + f.Code + ")"
	}
	if f.Err != nil {
		text += ": " + f.Err.Error()
	}
	return text
}

func (f *Fault) Unwrap() error { return f.Err }

const (
	maxRetryAfter = time.Hour
	// minReportedSkew is less than any issuer holds against an assertion.
	minReportedSkew = time.Minute
)

// faultFromResponse reads an answer without a token.
func faultFromResponse(host string, a httpResponse, now time.Time) *Fault {
	var said struct {
		Error       string `json:"error"`
		Description string `json:"error_description"`
		Codes       []int  `json:"error_codes"`
	}
	// What is no JSON is known by its status.
	_ = json.Unmarshal(a.body, &said)
	found, code := classifyError(said.Error, entraCodes(said.Codes, said.Description))
	if found.text == "" || found.vague && busy(a.status) {
		found = classifyStatus(host, a)
	}
	fault := &Fault{Kind: found.kind, Code: code, Words: found.text, RetryAfter: retryAfter(a.header, now),
		invalidGrant: said.Error == "invalid_grant"}
	if found.clock {
		fault.Words += clockSkewText(a.header, now)
	}
	return fault
}

var entraCode = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`AADSTS(\d{4,9})`)
})

// entraCodes are Entra ID's own: a list, or where that is missing the first in
// its description.
func entraCodes(codes []int, description string) []int {
	if len(codes) > 0 {
		return codes
	}
	if found := entraCode().FindStringSubmatch(description); found != nil {
		if code, err := strconv.Atoi(found[1]); err == nil {
			return []int{code}
		}
	}
	return nil
}

// classifyError finds the reading of what the issuer said in the form of RFC 6749.
func classifyError(code string, entra []int) (classification, string) {
	for _, number := range entra {
		if known, ok := entraErrors[number]; ok {
			return known, "AADSTS" + strconv.Itoa(number)
		}
	}
	known, ok := oauthErrors[code]
	if !ok {
		known, code = classification{}, ""
	}
	known.vague = true
	if len(entra) > 0 && entra[0] > 0 && entra[0] < 1e9 {
		number := strconv.Itoa(entra[0])
		code = "AADSTS" + number
		if !ok {
			known.kind, known.text = Configuration, "Entra ID refused the box for a reason that Sealpost does not know"
		}
		known.text += "; look it up at https://login.microsoftonline.com/error?code=" + number
	}
	return known, code
}

func busy(status int) bool { return status == http.StatusTooManyRequests || status >= 500 }

// classifyStatus is for an answer that is not in the form of RFC 6749.
func classifyStatus(host string, a httpResponse) classification {
	at := fmt.Sprintf("%s answered with HTTP status %d", host, a.status)
	switch body := bytes.TrimSpace(a.body); {
	case a.status == http.StatusTooManyRequests:
		return classification{kind: Wait, text: at + ", as it was asked too often: wait"}
	case a.status >= 500:
		return classification{kind: Wait, text: at + ", a fault of its own: wait; if it lasts, look at status.cloud.microsoft"}
	case a.status >= 300 && a.status < 400:
		return classification{kind: Configuration, text: at + ", which points elsewhere: check the token URL, and that no portal stands between the box and the internet"}
	case a.status >= 400:
		return classification{kind: Configuration, text: at + " and no error of OAuth: check the tenant in the token URL, and that no firewall answers in its place"}
	case len(body) == 0:
		return classification{kind: Wait, text: host + " gave an empty answer: wait; if it lasts, check the token URL"}
	case body[0] == '<':
		return classification{kind: Configuration, text: host + " answered with a web page in place of a token: check the token URL, and that no portal stands between the box and the internet"}
	}
	return classification{kind: Wait, text: host + " gave an answer that is no token (RFC 6749): wait; if it lasts, check the token URL"}
}

// retryAfter reads Retry-After (RFC 9110, 10.2.3). A time is taken by the
// issuer's clock, as ours may be wrong.
func retryAfter(header http.Header, now time.Time) time.Duration {
	field := header.Get("Retry-After")
	if seconds, err := strconv.ParseUint(field, 10, 31); err == nil {
		return min(time.Duration(seconds)*time.Second, maxRetryAfter)
	}
	at, err := http.ParseTime(field)
	if err != nil {
		return 0
	}
	if date, err := http.ParseTime(header.Get("Date")); err == nil {
		now = date
	}
	return min(max(at.Sub(now), 0), maxRetryAfter)
}

// clockSkewText says how far our clock is from the issuer's, where that is far.
func clockSkewText(header http.Header, now time.Time) string {
	date, err := http.ParseTime(header.Get("Date"))
	if err != nil {
		return ""
	}
	switch off := now.Sub(date).Round(time.Second); {
	case off >= minReportedSkew:
		return fmt.Sprintf("; it is %v ahead of the issuer's", off)
	case off <= -minReportedSkew:
		return fmt.Sprintf("; it is %v behind the issuer's", -off)
	}
	return "; it agrees with the issuer's now"
}
