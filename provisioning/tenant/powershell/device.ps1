
# Allow the sign-in with a device code. The person who signs in, or an
# administrator, is asked for consent.
Update-MgApplication -ApplicationId $app.Id -IsFallbackPublicClient @whatIf
