package tenant

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"sealpost/provisioning/settings"
)

// cmdlets are the cmdlets that the scripts may use, with those of their parameters that
// they may use. Sources: learn.microsoft.com/powershell/module/exchangepowershell/NAME
// for Exchange Online, learn.microsoft.com/powershell/module/microsoft.graph.applications
// and microsoft.graph.authentication for Graph, and microsoft.powershell.core and
// .utility for the rest, all read in November 2026. Remove-RecipientPermission has no
// WhatIf.
var cmdlets = map[string]string{
	"Connect-ExchangeOnline":             "ShowBanner ExchangeEnvironmentName",
	"Get-Mailbox":                        "ResultSize",
	"New-ServicePrincipal":               "AppId ObjectId DisplayName WhatIf",
	"Get-ServicePrincipal":               "",
	"Remove-ServicePrincipal":            "Identity Confirm WhatIf",
	"New-ManagementScope":                "Name RecipientRestrictionFilter WhatIf",
	"Set-ManagementScope":                "Identity RecipientRestrictionFilter WhatIf",
	"Get-ManagementScope":                "",
	"Remove-ManagementScope":             "Identity Confirm WhatIf",
	"New-ManagementRoleAssignment":       "Name Role App CustomResourceScope WhatIf",
	"Get-ManagementRoleAssignment":       "RoleAssignee",
	"Remove-ManagementRoleAssignment":    "Identity Confirm WhatIf",
	"Test-ServicePrincipalAuthorization": "Identity Resource",
	"New-InboundConnector":               "Name ConnectorType SenderDomains RequireTls TlsSenderCertificateName Enabled WhatIf",
	"Set-InboundConnector":               "Identity ConnectorType SenderDomains RequireTls TlsSenderCertificateName Enabled WhatIf",
	"Get-InboundConnector":               "",
	"Remove-InboundConnector":            "Identity Confirm WhatIf",
	"Add-MailboxPermission":              "Identity User AccessRights AutoMapping",
	"Remove-MailboxPermission":           "Identity User AccessRights Confirm",
	"Add-RecipientPermission":            "Identity Trustee AccessRights Confirm WhatIf",
	"Remove-RecipientPermission":         "Identity Trustee AccessRights Confirm",
	"Set-CASMailbox":                     "Identity SmtpClientAuthenticationDisabled WhatIf",

	"Connect-MgGraph":                         "TenantId Scopes NoWelcome Environment",
	"Get-MgContext":                           "",
	"Get-MgApplication":                       "Filter ApplicationId Property",
	"New-MgApplication":                       "DisplayName SignInAudience",
	"Update-MgApplication":                    "ApplicationId KeyCredentials IsFallbackPublicClient WhatIf",
	"Add-MgApplicationPassword":               "ApplicationId PasswordCredential WhatIf",
	"Get-MgServicePrincipal":                  "Filter",
	"New-MgServicePrincipal":                  "AppId WhatIf",
	"Get-MgServicePrincipalAppRoleAssignment": "ServicePrincipalId All",
	"New-MgServicePrincipalAppRoleAssignment": "ServicePrincipalId PrincipalId ResourceId AppRoleId WhatIf",

	"Where-Object": "", "ForEach-Object": "", "Out-Null": "", "Write-Host": "", "Format-Table": "", "Get-Date": "",
}

// common are parameters of every cmdlet (about_CommonParameters), and operators are no
// parameters.
var (
	common    = []string{"ErrorAction", "WarningAction"}
	operators = []string{"eq", "gt", "like", "not", "and", "or", "join", "replace"}
)

var (
	quotedText = regexp.MustCompile(`'[^']*'|"[^"]*"`)
	word       = regexp.MustCompile(`[A-Z][A-Za-z]+-[A-Z][A-Za-z]+|-[A-Za-z]+|@[a-zA-Z]+|[|;{}()]`)
)

// checkCmdlets reports each cmdlet and parameter of a script that is not in the table.
func checkCmdlets(t *testing.T, script string) {
	t.Helper()
	var outer []string // cmdlets around a parenthesis
	current := ""
	for line := range strings.Lines(script) {
		if strings.HasPrefix(strings.TrimSpace(line), "#") {
			continue
		}
		for _, token := range word.FindAllString(quotedText.ReplaceAllString(line, ""), -1) {
			name := token[1:]
			switch {
			case token == "(" || token == "{":
				outer, current = append(outer, current), ""
			case (token == ")" || token == "}") && len(outer) > 0:
				current, outer = outer[len(outer)-1], outer[:len(outer)-1]
			case token == "|" || token == ";":
				current = ""
			case token[0] == '@' && name == "whatIf":
				if !slices.Contains(strings.Fields(cmdlets[current]), "WhatIf") {
					t.Errorf("%s has no parameter WhatIf, in %s", current, line)
				}
			case token[0] == '-' && !slices.Contains(operators, name) && !slices.Contains(common, name):
				if !slices.Contains(strings.Fields(cmdlets[current]), name) {
					t.Errorf("%s has no parameter %s, in %s", current, name, line)
				}
			case token[0] >= 'A' && token[0] <= 'Z':
				if _, known := cmdlets[token]; !known {
					t.Errorf("there is no cmdlet %s in the table, in %s", token, line)
				}
				current = token
			}
		}
		if len(outer) == 0 && !strings.HasSuffix(strings.TrimSpace(line), "|") {
			current = ""
		}
	}
	if len(outer) != 0 {
		t.Errorf("got %d parentheses and braces that are not closed", len(outer))
	}
}

// rulesOf matches the parameters that the connector's script passes in a hash table.
var rulesOf = regexp.MustCompile(`(?m)^  ([A-Za-z]+) += `)

func TestScript_UsesDocumentedParameters(t *testing.T) {
	submission := site(t, submitting, `own_mailbox = ["scanner@contoso.com", "@contoso.co.uk"]`, "[senders]\naccepted_domains = [\"contoso.com\"]\ndefault = \"printer@contoso.com\"\n")
	connector := site(t, in(settings.CloudGCCHigh, "[upstream]\n")+"[senders]\naccepted_domains = [\"contoso.com\"]\n", "", "")
	connector.ConnectorName = "relay.contoso.com"
	var scripts []string
	for _, s := range []Site{submission, site(t, in(settings.CloudDoD, submitting), "", "grant = \"secret\"\n"), site(t, submitting, "", "grant = \"device\"\n"), connector} {
		for _, recipe := range []Recipe{RecipeRBAC, RecipePermissions} {
			for _, whatIf := range []bool{false, true} {
				s.Recipe, s.WhatIf = recipe, whatIf
				for _, write := range []func() (string, error){s.Script, s.Undo} {
					script, err := write()
					if err != nil {
						t.Fatal(err)
					}
					scripts = append(scripts, script)
				}
			}
		}
	}
	scripts = append(scripts, Register("Leeds", settings.CloudChina))
	for _, script := range scripts {
		checkCmdlets(t, script)
		if _, rules, found := strings.Cut(script, "$rules = @{"); found {
			rules, _, _ = strings.Cut(rules, "}")
			for _, rule := range rulesOf.FindAllStringSubmatch(rules, -1) {
				for _, cmdlet := range []string{"New-InboundConnector", "Set-InboundConnector"} {
					if !slices.Contains(strings.Fields(cmdlets[cmdlet]), rule[1]) {
						t.Errorf("%s has no parameter %s", cmdlet, rule[1])
					}
				}
			}
		}
	}
}

func TestScript_GivesTheLeastPrivilege(t *testing.T) {
	s := site(t, submitting, "", "")
	script, err := s.Script()
	if err != nil {
		t.Fatal(err)
	}
	for _, wide := range []string{"FullAccess", "AppRoleAssignment", "-Trustee $principal"} {
		if strings.Contains(script, wide) {
			t.Errorf("the script has %s:\n%s", wide, script)
		}
	}
}
