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

// Kind says whether a fault needs a configuration change.
type Kind string

// The kinds of faults.
const (
	Configuration Kind = "configuration" // a configuration change is needed
	Wait          Kind = "wait"          // temporary
)

// Fault is why there is no token. It contains no secret, and of the issuer's
// response only known codes.
type Fault struct {
	Kind Kind
	// Code is Entra ID's, such as AADSTS700027, or that of RFC 6749 section 5.2;
	// empty if unknown.
	Code string
	Text string // cause and advice, for people
	// RetryAfter is how long to wait before the next request; zero if unknown.
	RetryAfter time.Duration
	Err        error // error of a local part, such as the key; else nil

	invalidGrant bool // the grant was rejected (invalid_grant)
}

func (f *Fault) Error() string {
	text := f.Text
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
	// minReportedSkew is less than any issuer tolerates in an assertion.
	minReportedSkew = time.Minute
)

// faultFromResponse returns the fault in a response without a token.
func faultFromResponse(host string, response httpResponse, application bool, now time.Time) *Fault {
	var body struct {
		Error       string `json:"error"`
		Description string `json:"error_description"`
		Codes       []int  `json:"error_codes"`
	}
	// A body that is not JSON is classified by its status.
	_ = json.Unmarshal(response.body, &body)
	found, code := classifyError(body.Error, entraCodes(body.Codes, body.Description))
	if found.text == "" || found.vague && busy(response.status) {
		found = classifyStatus(host, response)
	}
	fault := &Fault{Kind: found.kind, Code: code, Text: found.text, RetryAfter: retryAfter(response.header, now),
		invalidGrant: body.Error == "invalid_grant"}
	if application && found.application != "" {
		fault.Text = found.application
	}
	if found.clock {
		fault.Text += clockSkewText(response.header, now)
	}
	return fault
}

var entraCode = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`AADSTS(\d{4,9})`)
})

// entraCodes returns Entra ID's error codes: the list, or else the first in the
// description.
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

// classifyError classifies an error response of RFC 6749.
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
			known.kind, known.text = Configuration, "Entra ID rejected the request for a reason unknown to Sealpost"
		}
		known.text += "; look it up at https://login.microsoftonline.com/error?code=" + number
	}
	return known, code
}

func busy(status int) bool { return status == http.StatusTooManyRequests || status >= 500 }

// classifyStatus classifies a response that is not an RFC 6749 error.
func classifyStatus(host string, response httpResponse) classification {
	at := fmt.Sprintf("%s returned HTTP status %d", host, response.status)
	switch body := bytes.TrimSpace(response.body); {
	case response.status == http.StatusTooManyRequests:
		return classification{kind: Wait, text: at + ", too many requests: wait"}
	case response.status >= 500:
		return classification{kind: Wait, text: at + ", a server error: wait; if it persists, look at status.cloud.microsoft"}
	case response.status >= 300 && response.status < 400:
		return classification{kind: Configuration, text: at + ", a redirect: check the token URL, and that no captive portal is between the box and the internet"}
	case response.status >= 400:
		return classification{kind: Configuration, text: at + " without an OAuth error: check the tenant in the token URL, and that no firewall responds in its place"}
	case len(body) == 0:
		return classification{kind: Wait, text: host + " returned an empty response: wait; if it persists, check the token URL"}
	case body[0] == '<':
		return classification{kind: Configuration, text: host + " returned a web page instead of a token: check the token URL, and that no captive portal is between the box and the internet"}
	}
	return classification{kind: Wait, text: host + " returned an invalid token response (RFC 6749): wait; if it persists, check the token URL"}
}

// retryAfter parses Retry-After (RFC 9110 section 10.2.3). A date is compared
// with the issuer's clock, because ours may be wrong.
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

// clockSkewText describes the difference between our clock and the issuer's.
func clockSkewText(header http.Header, now time.Time) string {
	date, err := http.ParseTime(header.Get("Date"))
	if err != nil {
		return ""
	}
	switch skew := now.Sub(date).Round(time.Second); {
	case skew >= minReportedSkew:
		return fmt.Sprintf("; it is %v ahead of the issuer's", skew)
	case skew <= -minReportedSkew:
		return fmt.Sprintf("; it is %v behind the issuer's", -skew)
	}
	return "; it agrees with the issuer's now"
}
