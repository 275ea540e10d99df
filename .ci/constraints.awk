# Puts every pinned package of the last file into the first part that needs it; `make constraints` runs this.
FNR == 1 { file++ }
/^#/ || /^$/ { next }
/^[^ ]/ { name = $1; if (!(name in part)) part[name] = file; if (file == 3) order[++count] = name " " $0 }
file == 3 { if (/^[^ ]/) entry = order[count]; text[entry] = text[entry] $0 "\n"; key[entry] = name }
END {
    title[1] = "# part 1: what runs leakguard, with the extras systemd and redis"
    title[2] = "# part 2: what develops it (extra dev)"
    title[3] = "# part 3: the extras postgres, fleet, apprise and plots"
    print "# Every version that leakguard is tested with. Each part is complete with those above; `make constraints` writes it."
    for (p = 1; p <= 3; p++) {
        print title[p]
        for (i = 1; i <= count; i++) if (part[key[order[i]]] == p) printf "%s", text[order[i]]
    }
}
