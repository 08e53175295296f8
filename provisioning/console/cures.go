package console

import (
	"maps"
	"strings"

	"sealpost/hal/fault"
	"sealpost/provisioning/tenant"
)

// cures are the cures on the console, which has no commands: what to choose in the menu,
// or to do to the box.
var cures = fault.Cures{
	fault.NoStorage:          "switch the box off, check that its card or storage is fitted firmly, and switch it on; if this does not help, replace the storage",
	fault.NoState:            "switch the box off and on; if this does not help, replace the storage",
	fault.StateInUse:         "wait a moment and try again; if this does not help, choose restart in the menu",
	fault.StateDamaged:       "hold the box's button for 10 seconds to reset it, and set it up again; if it happens again, replace the flash",
	fault.StateNewer:         "install that version again, or hold the box's button for 10 seconds to reset it, and set it up again",
	fault.FactoryState:       "set it up here, or with a USB stick",
	fault.SettingsInvalid:    "",
	fault.SettingsChanged:    "",
	fault.SettingsForeign:    "check the settings, the users and the PIN, and apply them again",
	fault.NoTrial:            "check the current settings under settings in the menu, and make the change again if it is missing",
	fault.NoCertificate:      "paste a PFX, or make a request, under certificate in the menu",
	fault.CertificateRefused: "see what the certificate lacks under certificate in the menu",
	fault.RequestPending:     "paste the certificate, or make a new request, which deletes the old one",
	fault.NoRequest:          "paste a PFX, or make a request first",
	fault.RequestNeedsTPM:    "",
	fault.UserExists:         "choose to replace it, or type another name",
	fault.LearnTime:          "choose a shorter time",
	fault.NoDevice:           "choose set under devices in the menu to list it",
	fault.NoUser:             "see the names under users in the menu",
	fault.SpoolForeign:       "to discard its contents and create a new spool, choose factory reset in the menu",
	fault.SpoolOtherTPM:      "or discard the mail: choose factory reset in the menu",
	fault.SpoolOpening:       "wait a minute and try again; until then mail is relayed without it",
	fault.NoClientSecret:     "enter it under tenant in the menu",
	fault.NoSignIn:           "sign the box in under tenant in the menu",
	fault.SignInOther:        "or sign in as the mailbox under tenant in the menu",
	fault.SignInRefused:      "then sign in again under tenant in the menu",
	fault.TokenScope:         "then sign in again under tenant in the menu",
	fault.ApplicationRefused: "the script under tenant in the menu sets it up",
	fault.TokenSlow:          "find out which with the checks under tenant in the menu",
	fault.ApplicationDamaged: "to make another, choose factory reset in the menu",
	fault.WrongMethod:        "choose check in the menu",
	fault.ConnectorUnmatched: "see which names the certificate has under certificate in the menu",
	fault.NoDKIMKeys:         "make some with: tenant, DKIM, print the DNS records",
	fault.DKIMUnpublished:    "publish it in DNS, then try again; DNS servers may remember for an hour that a record was missing",
	fault.DKIMRotating:       "publish their records, and activate them under: tenant, DKIM",
	fault.DKIMRotated:        "",
	fault.DKIMInFlight:       "wait until then",
	fault.DomainUnknown:      "",
	fault.NoRelay:            "wait a minute, then see the status and the logs",
	fault.NoAppliance:        "use the command line of this machine",
	fault.NoInit:             "switch the box off and on",
}

// Steps are the console's texts for the steps that follow a tenant script.
var Steps = tenant.Steps{
	Secret: "enter it under tenant in the menu of the box's console",
	Verify: "tenant in the menu of the box's console",
	Check:  "check in the menu of the box's console",
}

// Text returns the console's text for err: what is wrong, and what to do.
func Text(err error) string { return cures.Text(err) }

// sentence returns an error as one or more sentences.
func sentence(err error) string { return capitalized(cures.Text(err)) }

func capitalized(text string) string {
	if text == "" {
		return text
	}
	return strings.ToUpper(text[:1]) + text[1:]
}

// Cures returns the console's texts by code, so that a test can compare them with what can be
// typed there.
func Cures() fault.Cures { return maps.Clone(cures) }
