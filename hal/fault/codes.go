package fault

// The faults on which a person must act.
const (
	// The state and the settings in it.
	NoStorage       Code = "no-storage"       // the board's storage device did not appear
	NoState         Code = "no-state"         // there is no state file or device at the path
	StateInUse      Code = "state-in-use"     // another process holds the lock
	StateDamaged    Code = "state-damaged"    // both copies of the settings are damaged
	StateNewer      Code = "state-newer"      // a newer version wrote the settings in another form
	FactoryState    Code = "factory-state"    // the box was never set up
	SettingsInvalid Code = "settings-invalid" // the stored settings cannot be used by this version
	SettingsChanged Code = "settings-changed" // another process has changed the settings
	SettingsForeign Code = "settings-foreign" // the settings were not stored by this box
	NoTrial         Code = "no-trial"         // no settings are on trial any more

	// The client certificate.
	NoCertificate      Code = "no-certificate"
	CertificateRefused Code = "certificate-refused" // the server rejected it
	RequestPending     Code = "request-pending"     // a certificate was requested already
	NoRequest          Code = "no-request"          // no certificate was requested
	RequestNeedsTPM    Code = "request-needs-tpm"   // keys are stored in clear text

	// The users.
	UserExists Code = "user-exists" // another user has this name
	NoUser     Code = "no-user"     // no user has this name

	// The spool.
	SpoolForeign  Code = "spool-foreign"   // the ring contains no spool of this box
	SpoolOtherTPM Code = "spool-other-tpm" // the spool was sealed by another TPM
	SpoolOpening  Code = "spool-opening"   // the spool is being formatted or read

	// Access tokens.
	NoClientSecret     Code = "no-client-secret"
	NoSignIn           Code = "no-sign-in"          // the box is not signed in
	SignInOther        Code = "sign-in-other"       // another account signed the box in
	SignInRefused      Code = "sign-in-refused"     // the mailbox rejects the sign-in
	TokenScope         Code = "token-scope"         // the token lacks the scope
	ApplicationRefused Code = "application-refused" // it has no right to the mailbox
	TokenSlow          Code = "token-slow"          // the key or the issuer takes too long
	ApplicationDamaged Code = "application-damaged" // the certificate that signs for tokens, or its key
	WrongMethod        Code = "wrong-method"        // the command does not apply to the delivery method
	ConnectorUnmatched Code = "connector-unmatched" // no connector of the tenant matches this box

	// The DKIM keys.
	NoDKIMKeys      Code = "no-dkim-keys"     // there are none yet
	DKIMUnpublished Code = "dkim-unpublished" // DNS lacks a record of the keys
	DKIMRotating    Code = "dkim-rotating"    // a rotation has not ended
	DKIMRotated     Code = "dkim-rotated"     // no rotation is under way
	DKIMInFlight    Code = "dkim-in-flight"   // mail signed with the old keys may be on its way

	// A site.
	DomainUnknown Code = "domain-unknown" // DNS names no mail host of the domain

	// Devices.
	LearnTime Code = "learn-time" // learn mode would last too long
	NoDevice  Code = "no-device"  // no device of that address was seen

	// Processes.
	NoRelay     Code = "no-relay"     // no relay answers
	NoAppliance Code = "no-appliance" // the machine was not started by sealpost init
	NoInit      Code = "no-init"      // the first process does not answer
)

// All are the codes above.
var All = []Code{
	NoStorage, NoState, StateInUse, StateDamaged, StateNewer, FactoryState, SettingsInvalid, SettingsChanged, SettingsForeign, NoTrial,
	NoCertificate, CertificateRefused, RequestPending, NoRequest, RequestNeedsTPM,
	UserExists, NoUser,
	SpoolForeign, SpoolOtherTPM, SpoolOpening,
	NoClientSecret, NoSignIn, SignInOther, SignInRefused, TokenScope, ApplicationRefused, TokenSlow, ApplicationDamaged, WrongMethod, ConnectorUnmatched,
	NoDKIMKeys, DKIMUnpublished, DKIMRotating, DKIMRotated, DKIMInFlight,
	DomainUnknown, LearnTime, NoDevice, NoRelay, NoAppliance, NoInit,
}
