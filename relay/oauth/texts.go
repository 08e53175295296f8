package oauth

// classification is the meaning of an error code.
type classification struct {
	kind Kind
	text string
	// application is the text if no person signs in; empty means text.
	application string
	clock       bool // the text is about the box's clock: its difference from the issuer's is appended
	vague       bool // an HTTP status that asks to wait takes precedence
}

const (
	signInAgainText = "sign in again with a device code"
	otherCloudText  = "the tenant is in another Microsoft cloud: set the cloud that it is in"
	checkScopeText  = "the scope is not valid: for Exchange Online leave the scopes out of the settings, and set the cloud that the tenant is in; " +
		"the global one has https://outlook.office365.com/.default with a certificate or client secret, " +
		"and https://outlook.office.com/SMTP.Send offline_access after a sign-in"
	useCertificateText = "use a certificate, which needs no sign-in, or have an administrator except this sign-in from the policy"
	newCodeText        = "the code was not entered in time: start the sign-in again; if the browser refused it, " +
		"Conditional Access or security defaults block device codes: use a certificate"
	secretsPageText = "under Certificates & secrets of the app registration"
)

// entraErrors classifies codes of Microsoft's reference of Entra ID error
// codes; 700024, 900023, 900382, 900439 and 1000502 are not in it, and known from
// Microsoft's libraries and their issues. Microsoft may change codes, so only text
// and kind depend on them.
var entraErrors = map[int]classification{
	7000215: {kind: Configuration, text: "the client secret is wrong: enter the secret's value, not its ID, as it was shown once when it was made " + secretsPageText},
	7000222: {kind: Configuration, text: "the client secret has expired: make a new one " + secretsPageText + " and enter its value, or use a certificate"},
	7000218: {kind: Configuration, text: "the application does not allow a sign-in by device code: set Allow public client flows to Yes under Authentication of the app registration"},
	700025:  {kind: Configuration, text: "the application is registered as a public client, which may show neither secret nor certificate: register one that is not"},
	700016:  {kind: Configuration, text: "the tenant does not know this application: check the client ID, and the tenant in the token URL"},
	7000112: {kind: Configuration, text: "the application is disabled: enable it under Enterprise applications in the Entra admin center"},
	700027:  {kind: Configuration, text: "the box's certificate is not registered for the application, or has expired, or is not the one that signed: upload the certificate that the box has now " + secretsPageText},
	1000502: {kind: Configuration, text: "the box's certificate has expired or is not valid yet: give the box a new one, upload it " + secretsPageText + ", and check the box's clock", clock: true},
	700024:  {kind: Configuration, text: "the box's signature is out of date the moment it is made: check the box's clock", clock: true},
	50027:   {kind: Configuration, text: "the box's signed assertion was not accepted: check the client ID, the tenant in the token URL, and the box's clock", clock: true},
	50012:   {kind: Configuration, text: "the box's signed assertion was not accepted: upload the certificate that the box has now " + secretsPageText + ", and check the box's clock", clock: true},

	700023: {kind: Configuration, text: checkScopeText},
	70011:  {kind: Configuration, text: checkScopeText},
	500011: {kind: Configuration, text: "the tenant does not know the resource that the scope names: check the scope, and that the tenant has Exchange Online in this cloud, or set the cloud that it is in"},
	65001:  {kind: Configuration, text: "the application's permissions have no consent: have an administrator grant consent under API permissions of the app registration"},
	90002:  {kind: Configuration, text: "there is no such tenant: check the tenant, and set the cloud that it is in"},
	90038:  {kind: Configuration, text: otherCloudText},
	900382: {kind: Configuration, text: otherCloudText},
	900432: {kind: Configuration, text: otherCloudText},
	900439: {kind: Configuration, text: otherCloudText},
	900023: {kind: Configuration, text: "the tenant in the token URL is neither an ID nor a domain: check it"},

	500014:  {kind: Configuration, text: "Exchange Online is disabled in the tenant, or its subscription has lapsed: enable Office 365 Exchange Online under Enterprise applications in the Entra admin center, and check the licences"},
	650052:  {kind: Configuration, text: "the tenant has no subscription for Exchange Online: check the licences, and the tenant in the token URL"},
	650057:  {kind: Configuration, text: "the application has no permission for Exchange Online: add it under API permissions of the app registration, and grant consent"},
	7000229: {kind: Configuration, text: "the application has no enterprise application in this tenant: create one, as the script for the tenant does, or grant admin consent, which creates it"},
	500133:  {kind: Configuration, text: "the box's signature is outside its period of validity: check the box's clock", clock: true},
	700022:  {kind: Configuration, text: checkScopeText},
	70001:   {kind: Configuration, text: "the tenant does not know this application: check the client ID, and the tenant in the token URL"},
	70003:   {kind: Configuration, text: "the issuer does not support this grant: check the token URL"},
	90014:   {kind: Configuration, text: "the request lacks a field: check the client ID, the grant and the scopes"},
	50059:   {kind: Configuration, text: "the token URL names no tenant: write the tenant's domain or ID in it"},
	50128:   {kind: Configuration, text: "there is no such tenant: check the tenant, and set the cloud that it is in"},
	50194:   {kind: Configuration, text: "the application belongs to one tenant, and the token URL names another or all: write the tenant of the application"},
	500021:  {kind: Configuration, text: "a proxy of this network allows only other tenants (tenant restrictions): have the box excepted from it"},

	50020: {kind: Configuration, text: "the account belongs to another tenant: sign in again with an account of this tenant"},
	50053: {kind: Configuration, text: "the account is locked after too many wrong passwords, or its address is blocked: wait, or unlock it in the Entra admin center, then " + signInAgainText},
	50055: {kind: Configuration, text: "the account's password has expired: change it in a browser, then " + signInAgainText},
	50126: {kind: Configuration, text: "the user name or the password is wrong: " + signInAgainText},
	65004: {kind: Configuration, text: declinedText},
	53000: {kind: Configuration, text: "a Conditional Access policy wants a managed device, which the box is not: " + useCertificateText},
	53001: {kind: Configuration, text: "a Conditional Access policy wants a managed device, which the box is not: " + useCertificateText},
	53002: {kind: Configuration, text: "a Conditional Access policy wants an approved application, which the box is not: " + useCertificateText},
	50034: {kind: Configuration, text: "the tenant has no such user: sign in again with an account of this tenant"},
	50057: {kind: Configuration, text: "the account that was signed in is disabled: enable it, or " + signInAgainText + " as another"},
	50105: {kind: Configuration, text: "the account is not assigned to the application: assign it under Enterprise applications, Users and groups"},
	50076: {kind: Configuration, text: "the account must prove itself by multifactor authentication: " + signInAgainText + " and do so in the browser"},
	50079: {kind: Configuration, text: "the account has to register for multifactor authentication: do that in a browser, then " + signInAgainText},
	53003: {kind: Configuration, text: "a Conditional Access policy blocks the sign-in, as Microsoft's own does with device codes: " + useCertificateText,
		application: "a Conditional Access policy for workload identities blocks the application: except the application or the site's public address from the policy"},

	530035: {kind: Configuration, text: "the tenant's security defaults block the sign-in: use a certificate, which needs no sign-in"},
	50173:  {kind: Configuration, text: "the sign-in was revoked, as after a change of password: " + signInAgainText},
	70008:  {kind: Configuration, text: "the sign-in has expired, because it was not used for a long time: " + signInAgainText},
	700082: {kind: Configuration, text: "the sign-in has expired, because it was not used for a long time: " + signInAgainText},
	70043:  {kind: Configuration, text: "the sign-in has expired by the tenant's policy on sign-in frequency: " + signInAgainText + ", or use a certificate, which does not expire so soon"},

	70016: {kind: Wait, text: "the code has not been entered yet: enter it in the browser"},
	70018: {kind: Configuration, text: "the code was mistyped in the browser: start the sign-in again"},
	70019: {kind: Configuration, text: newCodeText},

	50196: {kind: Wait, text: "Entra ID received too many requests for the same token: wait"},
	90055: {kind: Wait, text: "Entra ID throttles this tenant: wait"},
	50033: {kind: Wait, text: entraBusy},
	90006: {kind: Wait, text: entraBusy},
	90024: {kind: Wait, text: entraBusy},
	90033: {kind: Wait, text: entraBusy},
}

const entraBusy = "Entra ID is unavailable for the moment: wait"

// oauthErrors classifies the codes of RFC 6749 (5.2), RFC 8628 (3.5) and Entra
// ID's additions. Other codes never appear in a fault.
var oauthErrors = map[string]classification{
	"invalid_client":         {kind: Configuration, text: "the issuer does not accept what the box identifies itself with: check the client ID, and the secret or certificate"},
	"invalid_grant":          {kind: Configuration, text: "the issuer does not accept the sign-in any more: " + signInAgainText},
	"invalid_request":        {kind: Configuration, text: "the issuer does not accept the request: check the token URL, the client ID and the scopes"},
	"invalid_scope":          {kind: Configuration, text: checkScopeText},
	"invalid_resource":       {kind: Configuration, text: checkScopeText},
	"unauthorized_client":    {kind: Configuration, text: "the application may not use this grant: check the client ID and the tenant, and what the app registration allows"},
	"unsupported_grant_type": {kind: Configuration, text: "the issuer does not support this grant: check the token URL, and choose a certificate, a client secret or a sign-in"},
	"consent_required":       {kind: Configuration, text: "the application's permissions have no consent: have an administrator grant consent under API permissions of the app registration"},
	"interaction_required":   {kind: Configuration, text: "the issuer wants to see the user again: " + signInAgainText},
	"login_required":         {kind: Configuration, text: "the issuer wants to see the user again: " + signInAgainText},

	"temporarily_unavailable": {kind: Wait, text: "the issuer is unavailable for the moment: wait"},
	"server_error":            {kind: Wait, text: "the issuer reports a server error: wait"},

	"authorization_pending":  {kind: Wait, text: "the code has not been entered yet: enter it in the browser"},
	"slow_down":              {kind: Wait, text: "the issuer received too many requests: wait"},
	"access_denied":          {kind: Configuration, text: declinedText},
	"authorization_declined": {kind: Configuration, text: declinedText},
	"bad_verification_code":  {kind: Configuration, text: "the issuer does not know the code: start the sign-in again"},
	"expired_token":          {kind: Configuration, text: newCodeText},
}

const declinedText = "the sign-in was declined in the browser: start it again and accept, or have an administrator consent to the application"
