package main

import "sealpost/hal/fault"

// cures are the cures on the command line.
var cures = fault.Cures{
	fault.NoStorage:          "check that the storage is fitted, and restart the box; if this does not help, replace the storage",
	fault.NoState:            "an import or the relay creates it; use --state for another one",
	fault.StateInUse:         "stop that one first, or wait until its command has ended",
	fault.StateDamaged:       "erase them with: sealpost state erase --yes, and set the box up again; if it happens again, replace the flash",
	fault.StateNewer:         "install that version again, or erase them with: sealpost state erase --yes, and set the box up again",
	fault.FactoryState:       "name a settings file with --config FILE, or set the box up over its serial console or with a USB stick",
	fault.SettingsInvalid:    "",
	fault.SettingsChanged:    "",
	fault.SettingsForeign:    "check them, and apply them again over the serial console or with a USB stick",
	fault.NoTrial:            "check the current settings, and make the change again if it is missing",
	fault.NoCertificate:      "import one with: sealpost certificate import --pfx FILE",
	fault.CertificateRefused: "see what the certificate lacks with: sealpost certificate show",
	fault.RequestPending:     "import the certificate with: sealpost certificate import --pem FILE, or discard that request and its key with --replace",
	fault.NoRequest:          "import a PFX, or make a request first with: sealpost certificate request --name NAME",
	fault.RequestNeedsTPM:    "",
	fault.SpoolForeign:       "to discard its contents and create a new spool: sealpost spool format --yes",
	fault.SpoolOtherTPM:      "or discard the mail with: sealpost spool format --yes",
	fault.SpoolOpening:       "wait a minute and try again; until then mail is relayed without it",
	fault.NoClientSecret:     "enter it with: sealpost tenant secret",
	fault.NoSignIn:           "sign the box in with: sealpost tenant login",
	fault.SignInOther:        "or sign in as the mailbox with: sealpost tenant login",
	fault.SignInRefused:      "then sign in again with: sealpost tenant login",
	fault.TokenScope:         "then sign in again with: sealpost tenant login",
	fault.TokenRole:          "the script does both: sealpost tenant script",
	fault.TokenSlow:          "find out which with: sealpost tenant verify",
	fault.ApplicationDamaged: "make another with: sealpost tenant certificate --replace",
	fault.WrongMethod:        "use: sealpost check",
	fault.ConnectorUnmatched: "see which names the certificate has with: sealpost certificate show",
	fault.DomainUnknown:      "",
	fault.NoRelay:            "start it with: sealpost relay",
	fault.NoAppliance:        "this works only on a box that was started by sealpost init",
	fault.NoInit:             "restart the box",
}
