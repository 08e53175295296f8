package certificate

import (
	"fmt"
	"strings"
)

// KeyPlace says where a key with this protection is.
func KeyPlace(protection string) string {
	switch protection {
	case "tpm-resident":
		return "in the TPM"
	case "tpm-sealed":
		return "sealed by the TPM"
	case "file":
		return "in clear text"
	}
	return "with an unknown protection"
}

// String returns the report as a short block of lines, with problems in capitals.
func (r Report) String() string {
	var b strings.Builder
	if r.Subject != "" || r.Issuer != "" {
		const day = "2006-01-02"
		fmt.Fprintf(&b, "certificate  %s\n", r.Subject)
		fmt.Fprintf(&b, "issued by    %s\n", r.Issuer)
		fmt.Fprintf(&b, "names        %s\n", strings.Join(r.Names, ", "))
		fmt.Fprintf(&b, "valid        %s to %s\n", r.NotBefore.Format(day), r.NotAfter.Format(day))
		fmt.Fprintf(&b, "key          %s, %s (%s)\n", r.KeyType, KeyPlace(r.Protection), r.Protection)
		fmt.Fprintf(&b, "chain        %s\n", strings.Join(r.Chain, " <- "))
	}
	for _, f := range r.Findings {
		mark := string(f.Level)
		if f.Level == Problem {
			mark = "PROBLEM"
		}
		fmt.Fprintf(&b, "%-12s %s\n", mark, f.Text)
	}
	for i, text := range r.LAN {
		fmt.Fprintf(&b, "%-12s %s\n", []string{"on the LAN", ""}[min(i, 1)], text)
	}
	return b.String()
}
