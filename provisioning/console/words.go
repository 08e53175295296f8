package console

import (
	"maps"
	"strings"

	"sealpost/hal/fault"
	"sealpost/provisioning/tenant"
)

// words are those of the console: what to choose in its menu, or do to the box,
// about each fault. Nobody can type a command of the program here.
var words = fault.Words{
	fault.NoStorage:          "switch the box off, check that its card or storage is fitted firmly, and switch it on; if it stays so, replace the storage",
	fault.NoState:            "switch the box off and on; if it stays so, replace the storage",
	fault.StateInUse:         "wait a moment and try again; if it stays so, choose restart in the menu",
	fault.StateDamaged:       "hold the box's button for 10 seconds to reset it, and set it up again; if this comes back, replace the flash",
	fault.StateNewer:         "install that version again, or hold the box's button for 10 seconds to reset it, and set it up again",
	fault.FactoryState:       "set it up here, or with a USB stick",
	fault.SettingsInvalid:    "",
	fault.SettingsChanged:    "",
	fault.NoTrial:            "see under settings in the menu which are in force, and make the change again if it is not among them",
	fault.NoCertificate:      "paste a PFX, or make a request, under certificate in the menu",
	fault.CertificateRefused: "see what the certificate lacks under certificate in the menu",
	fault.RequestPending:     "paste it, or make another request and give that one up",
	fault.NoRequest:          "paste a PFX, or make a request first",
	fault.SpoolForeign:       "to give up what is there and begin anew, choose factory reset in the menu",
	fault.SpoolOtherTPM:      "or give the mail up: choose factory reset in the menu",
	fault.SpoolOpening:       "wait a minute and look again; until then mail is relayed without it",
	fault.NoClientSecret:     "type it under tenant in the menu",
	fault.NoSignIn:           "sign the box in under tenant in the menu",
	fault.SignInOther:        "or sign in as the mailbox under tenant in the menu",
	fault.SignInRefused:      "then sign in again under tenant in the menu",
	fault.TokenScope:         "then sign in again under tenant in the menu",
	fault.TokenRole:          "the script under tenant in the menu does both",
	fault.TokenSlow:          "look which under tenant in the menu",
	fault.ApplicationDamaged: "to make another, choose factory reset in the menu",
	fault.WrongMethod:        "choose preflight in the menu",
	fault.ConnectorUnmatched: "see which names the certificate has under certificate in the menu",
	fault.NoRelay:            "wait a minute, then see the status and the logs",
	fault.NoAppliance:        "use the command line of this machine",
	fault.NoInit:             "switch the box off and on",
}

// Steps are those that follow a script for the tenant, as they are done here.
var Steps = tenant.Steps{
	Secret: "type it under tenant in the menu of the box's console",
	Verify: "tenant in the menu of the box's console",
	Check:  "preflight in the menu of the box's console",
}

// Words returns what the console says about err: what is wrong, and what to do.
func Words(err error) string { return words.Say(err) }

// inWords writes an error as one or more sentences.
func inWords(err error) string { return capitalized(words.Say(err)) }

func capitalized(text string) string {
	if text == "" {
		return text
	}
	return strings.ToUpper(text[:1]) + text[1:]
}

// Cures returns the console's texts by code, so that a test can compare them with what can be
// typed there.
func Cures() fault.Words { return maps.Clone(words) }
