# Reads the mails named on standard input, then parses all of them until the time is up, the same way for each peer.
# Prints: mails parsed, seconds, findings of the first pass.
use strict;
use warnings;
use Sisimai;
use Time::HiRes qw(time);

my ($seconds) = @ARGV;
my @mails;
while (my $path = <STDIN>) {
    chomp $path;
    open(my $file, '<:raw', $path) or die "$path: $!";
    local $/;
    push @mails, scalar <$file>;
}
my $make = Sisimai->can('rise') || Sisimai->can('make');
my ($done, $found) = (0, 0);
my $pass = sub {
    $found = 0;
    for my $mail (@mails) {
        my $copy = $mail;
        local $SIG{ALRM} = sub { die "hung\n" };
        my $list = eval { alarm 5; my $r = $make->('Sisimai', \$copy); alarm 0; $r };
        alarm 0;
        $found += scalar @$list if $list;
        $done++;
    }
};
$pass->();    # loads its modules
$done = 0;
my $start = time;
do { $pass->() } while (time - $start < $seconds);
printf "%d %.3f %d\n", $done, time - $start, $found;
