package lan

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

func TestNormalisePath_CorrectsPathsOfDevices(t *testing.T) {
	for input, want := range map[string]string{
		"FROM:<a@b.example>":                        "FROM:<a@b.example>",
		"from: <a@b.example> SIZE=1":                "FROM:<a@b.example> SIZE=1",
		"FROM:a@b.example":                          "FROM:<a@b.example>",
		"FROM: a@b.example SIZE=1":                  "FROM:<a@b.example> SIZE=1",
		"FROM:< a@b.example >":                      "FROM:<a@b.example>",
		"FROM:<a@b.example.>":                       "FROM:<a@b.example>",
		"FROM:<scanner>":                            "FROM:<scanner@box.example>",
		"FROM:scanner":                              "FROM:<scanner@box.example>",
		"FROM:<>":                                   "FROM:<>",
		"FROM: < > BODY=8BITMIME":                   "FROM:<> BODY=8BITMIME",
		"FROM:":                                     "FROM:<>",
		`FROM:<"a>b"@c.example> SIZE=1`:             `FROM:<"a>b"@c.example> SIZE=1`,
		`FROM:<"a\">b"@c.example>`:                  `FROM:<"a\">b"@c.example>`,
		"FROM:<a@b.example":                         "FROM:<a@b.example",
		`FROM:<"x NOTIFY=y  z"@b.example> NOTIFY=x`: `FROM:<"x NOTIFY=y  z"@b.example> NOTIFY=x`,
		`FROM:"a b"@b.example>`:                     `FROM:"a b"@b.example>`,
		"FROM <a@b.example>":                        "FROM <a@b.example>",
		"FROM:<@relay.example:a@b.example>":         "FROM:<@relay.example:a@b.example>",
		"FROM:<a@b.example>SIZE=1":                  "FROM:<a@b.example> SIZE=1",
		"FROM:<a@b.example>\tSIZE=1 SMTPUTF8":       "FROM:<a@b.example> SIZE=1 SMTPUTF8",
		"FROM:<a@b.example> <evil@evil.example>":    "FROM:<a@b.example> <evil@evil.example>",
	} {
		path, parameters := normalisePath(input, "FROM:", "box.example")
		if got := strings.Join(append([]string{path}, parameters...), " "); got != want {
			t.Errorf("%q: got %q, want %q", input, got, want)
		}
	}
	if got, _ := normalisePath("TO:<user>", "TO:", ""); got != "TO:<user>" {
		t.Errorf("recipient without a domain: got %q, want it unchanged", got)
	}
}

// impossible are replies of go-smtp that no client of this relay can get, because the
// feature is turned off or commands.go replies first.
var impossible = []string{
	"This is a LMTP server, use LHLO", "Domain/address argument required for HELO", "Hello *",
	"Unknown RET value", "Malformed ENVID parameter value", "Malformed AUTH parameter value", "Malformed AUTH parameter mailbox",
	"Malformed ORCPT parameter value", "Malformed RRVS parameter value",
	"Malformed BY parameter value", "BY parameter is below server minimum", "Malformed MT-PRIORITY parameter value", "MT-PRIORITY is outside valid range",
	"Already authenticated", "Missing parameter", "TLS is required", "Invalid base64 data", "Negotiation cancelled", "Authentication succeeded",
	"Already running in TLS", "TLS not supported", "Ready to start TLS", "Handshake error",
	"DATA not allowed for BINARYMIME messages", "Missing chunk size argument", "Malformed size argument", "Too many arguments", "Unknown BDAT argument",
	"Too busy. Try again later.", "bad address", "OK: queued", "Error: transaction failed: *",
}

// TestTexts_ReplaceEveryReplyOfTheLibrary finds the replies in go-smtp's source.
func TestTexts_ReplaceEveryReplyOfTheLibrary(t *testing.T) {
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/emersion/go-smtp").Output()
	if err != nil {
		t.Fatal(err)
	}
	inSource := map[string]bool{} // by text, whether it was found in the source
	for _, text := range impossible {
		inSource[text] = false
	}
	for _, text := range texts {
		inSource[text.library] = false
	}
	for _, text := range tooLargeTexts {
		inSource[text] = false
	}
	for _, name := range []string{"conn.go", "server.go", "data.go"} {
		file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(strings.TrimSpace(string(dir)), name), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			for _, text := range replyTexts(n) {
				seen, listed := inSource[text]
				if parameter, ok := strings.CutSuffix(text, " is not implemented"); ok && strings.ToUpper(parameter) == parameter {
					listed, seen = true, true
					inSource["* is not implemented"] = true
				}
				if !listed {
					t.Errorf("go-smtp's %s: got reply %q, want one that texts replaces", name, text)
				}
				if !seen {
					inSource[text] = true
				}
			}
			return true
		})
	}
	for text, found := range inSource {
		if !found {
			t.Errorf("got no reply %q in go-smtp, want one", text)
		}
	}
}

// replyTexts returns the texts of replies in a call of writeResponse or
// protocolError, in an SMTPError, and in the variables that are passed to them.
// Format verbs are replaced by asterisks.
func replyTexts(n ast.Node) (found []string) {
	var arguments []ast.Expr
	switch n := n.(type) {
	case *ast.CallExpr:
		if f, ok := n.Fun.(*ast.SelectorExpr); ok && (f.Sel.Name == "writeResponse" || f.Sel.Name == "protocolError") {
			arguments = n.Args
		}
	case *ast.KeyValueExpr:
		if key, ok := n.Key.(*ast.Ident); ok && key.Name == "Message" {
			arguments = []ast.Expr{n.Value}
		}
	case *ast.AssignStmt:
		if to, ok := n.Lhs[0].(*ast.Ident); ok && to.Name == "msg" {
			arguments = n.Rhs
		}
	case *ast.ReturnStmt:
		if len(n.Results) == 3 {
			arguments = n.Results[2:]
		}
	}
	for _, argument := range arguments {
		if call, ok := argument.(*ast.CallExpr); ok && len(call.Args) > 0 {
			argument = call.Args[0]
		}
		if sum, ok := argument.(*ast.BinaryExpr); ok {
			if literal, ok := sum.X.(*ast.BasicLit); ok {
				argument = &ast.BasicLit{Kind: token.STRING, Value: strings.TrimSuffix(literal.Value, `"`) + `*"`}
			}
		}
		if literal, ok := argument.(*ast.BasicLit); ok && literal.Kind == token.STRING {
			text, _ := strconv.Unquote(literal.Value)
			text = strings.ReplaceAll(strings.ReplaceAll(text, "%v %s", "* ESMTP"), "%v", "*")
			if text = strings.ReplaceAll(text, "%s", "*"); strings.Trim(text, "<*> ") != "" {
				found = append(found, text)
			}
		}
	}
	return found
}
