//! On-hand stock, and reservations of it.

use super::check;

#[test]
fn an_on_hand_change_adds_and_a_set_replaces_what_is_own() {
    check(
        "pool = iv.onhand + 0.25 * pos.inbound - @iv.@allocated
         post iv.onhand+3,pos.inbound-2 at 1/11/red => available 2.5, version 1
         post iv.onhand-5,pos.inbound+0 at 1/11/red => available -2.5, version 2
         set iv.onhand=4 at 1/11 => available 1.5, version 3
         set iv.onhand=1,pos.inbound=-1 at 1/11 => available -1.75
         then own iv.onhand    1 at 1/11
         then iv.onhand       -1 at 1/11
         then iv.onhand       -2 at 1/11/red
         then pos.inbound     -3 at 1/11
         set iv.onhand=1 at 1/11 => version 5",
    );
}

#[test]
fn a_set_older_than_the_last_is_refused() {
    check(
        "set iv.onhand=5 at 1/11 time 50
         set iv.onhand=6 at 1/11 time 49 => refused iv.onhand was set later than this already
         set iv.onhand=6 at 1/11 time 50 => available 6
         set pos.inbound=1,iv.onhand=7 at 1/11 time 49 => refused iv.onhand was set later
         set pos.inbound=1 at 1/11     time 49
         set iv.onhand=7   at 1/11/red time 49
         set pos.inbound=2 at 1/11/red time 60
         set iv.onhand=6,pos.inbound=3 at 1/11/red time 59 => refused pos.inbound was set later
         set iv.onhand=8   at 1/11     time 101 => available 15
         set iv.onhand=9   at 1/11 => refused iv.onhand was set later
         set pos.inbound=9 at 1/11
         set pos.inbound=8 at 1/11     time 99 => refused pos.inbound was set later
         post iv.onhand-1  at 1/11
         then own iv.onhand   7 at 1/11
         then own pos.inbound 9 at 1/11",
    );
}

#[test]
fn a_consume_can_be_a_soft_reservation() {
    check(
        "pool = iv.onhand - iv.softreserved - @iv.@allocated
         iv.softreserved = iv.onhand - iv.softreserved - @iv.@allocated
         post iv.onhand+8 at 1/11
         allocate 8 at 1/11 to Web => available 0
         consume 3 at 1/11 by Web with iv.softreserved+ as sold => available 0, held 5/3/8/3
         consume 2 at 1/11 by Web with iv.softreserved+,iv.onhand- => refused would deduct 2 from the pool twice
         consume 6 at 1/11 by Web with iv.softreserved+ => refused 6 asked for, 5 allocated
         then sold 3
         then iv.softreserved 3 at 1/11
         reserve 1 at 1/11 on iv.softreserved => refused 1 asked for, 0 available for reservation
         unreserve 2 at 1/11 of sold => available 2, no excess
         consume 1 at 1/11 by Web with iv.softreserved-,iv.onhand-,pos.inbound+ => refused would release 1
         then sold 1",
    );
    // Taking from a reservation measure makes no reservation. Adding to the predefined one
    // does, listed or not: nothing else could take it back.
    check(
        "pool = iv.onhand + pos.inbound - @iv.@softreserved - @iv.@allocated
         iv.softreserved = iv.onhand - iv.softreserved - @iv.@allocated
         post iv.onhand+9 at 1/11
         allocate 5 at 1/11 to Web
         consume 1 at 1/11 by Web with iv.onhand-,iv.softreserved-
         consume 1 at 1/11 by Web with @iv.@softreserved+ as held
         then held 1
         then iv.softreserved   -1 at 1/11
         then @iv.@softreserved  1 at 1/11",
    );
}

#[test]
fn what_was_consumed_is_settled() {
    check(
        "pool = fno.onhand - @iv.@consumed - @iv.@allocated
         post fno.onhand+10 at 1/11
         allocate 8 at 1/11 to Web/VIP => available 2
         consume 5 at 1/11 by Web/VIP => available 2, held 3/5/8/5
         post fno.onhand-6,@iv.@consumed-6 at 1/11 for Web/VIP => refused 6 asked for, 5 consumed and not settled by channel=Web, customerGroup=VIP
         post fno.onhand-1,@iv.@consumed-1 at 1/11 for Web     => refused 1 asked for, 0 consumed and not settled by channel=Web
         post fno.onhand-3,@iv.@consumed-3 at 1/11 for Web/VIP => available 2, held 3/2/8/5
         post @iv.@consumed-2 at 1/11 for Web/VIP              => available 4, held 3/0/8/5
         post @iv.@consumed-1 at 1/11 for Web/VIP              => refused 1 asked for, 0 consumed
         post @iv.@consumed+1 at 1/11 for Web/VIP              => refused /quantities/@iv/@consumed can only be decreased
         post @iv.@consumed+0 at 1/11 for Web/VIP              => refused can only be decreased
         post @iv.@consumed-1 at 1/11                          => refused /groups must give the group path
         post fno.onhand-1    at 1/11 for Web/VIP              => refused /groups is only for settling @iv.@consumed
         post nothing         at 1/11 for Web/VIP              => refused /groups is only for settling
         then @iv.@consumed            0 at 1/11
         then @iv.@cumulative_consumed 5 at 1/11
         then fno.onhand               7 at 1/11",
    );
}

#[test]
fn a_reservation_is_checked_along_its_chain_unless_told_not_to() {
    check(
        "pool = iv.onhand - iv.softreserved - @iv.@allocated
         iv.softreserved = iv.onhand + pos.inbound - iv.softreserved - @iv.@allocated
         post iv.onhand+5 at 1/11/red
         post pos.inbound+2 at 1/11
         allocate 3 at 1/11/red to Web => available 2
         reserve 3 at 1/11/red on iv.softreserved => refused 3 asked for, 2 available for reservation, limited at siteId=1, locationId=11, colorId=red
         reserve 5 at 1/11     on iv.softreserved => refused 5 asked for, 4 available for reservation, limited at siteId=1, locationId=11
         reserve 4 at 1/11     on iv.softreserved as late => available -2
         reserve 1 at 1/11/red on iv.softreserved => refused 1 asked for, 0 available for reservation, limited at siteId=1, locationId=11
         reserve 1 at 1/11/red on iv.softreserved unchecked as anyway => available -3, version 5
         then iv.softreserved     5 at 1/11
         then own iv.softreserved 4 at 1/11
         then anyway 1",
    );
}

#[test]
fn unreserve_frees_what_remains_and_reports_the_rest() {
    check(
        "pool = iv.onhand - iv.softreserved - @iv.@allocated
         iv.softreserved = iv.onhand - iv.softreserved - @iv.@allocated
         post iv.onhand+9 at 1/11
         reserve 4 at 1/11 on iv.softreserved as one
         reserve 5 at 1/11 on iv.softreserved as two => available 0
         unreserve 1.5 at 1/11 of one => available 1.5, no excess
         unreserve 4   at 1/11 of one => available 4, excess 1.5
         unreserve 4   at 1/11 of one => available 4, excess 4, version 6
         unreserve 1 at 1/12     of two   => refused there is no reservation
         unreserve 1 at 1/11/red of two   => refused there is no reservation
         unreserve 1 at 1/11     of three => refused there is no reservation 00000000-0000-0000-0000-000000000000
         unreserve 5 at 1/11     of two   => no excess
         then one 0
         then two 0
         then iv.softreserved 0 at 1/11",
    );
}

#[test]
fn giving_back_names_no_reservation_and_stops_at_zero() {
    check(
        "iv.softreserved = iv.onhand - iv.softreserved - @iv.@allocated
         post iv.onhand+9 at 1/11
         reserve 4 at 1/11 on iv.softreserved as order
         reserve -5 at 1/11     on iv.softreserved unchecked => refused 5 given back, but 4 is reserved there
         reserve -1 at 1/11/red on iv.softreserved unchecked => refused 1 given back, but 0 is reserved there
         reserve -1 at 1/11     on iv.softreserved           => refused /quantity is -1, which must be greater than 0; to give back what was reserved, set ifCheckAvailForReserv to false
         reserve  0 at 1/11     on iv.softreserved unchecked => refused /quantity is 0, which must be greater than 0
         reserve -4 at 1/11     on iv.softreserved unchecked
         then iv.softreserved 0 at 1/11
         then order 4",
    );
}

/// Which reservation was given back is not known when none is named. In all, no more is freed
/// than was reserved, whichever of the two ways comes first.
#[test]
fn what_was_given_back_without_a_name_is_not_freed_again() {
    check(
        "pool = iv.onhand - iv.softreserved - @iv.@allocated
         iv.softreserved = iv.onhand - iv.softreserved - @iv.@allocated
         post iv.onhand+9 at 1/11
         reserve  9 at 1/11 on iv.softreserved as whole
         reserve -9 at 1/11 on iv.softreserved unchecked => available 9
         then whole 9
         unreserve 9 at 1/11 of whole => available 9, excess 9
         then whole 0
         then iv.softreserved 0 at 1/11

         reserve  5 at 1/11 on iv.softreserved as part
         reserve -3 at 1/11 on iv.softreserved unchecked => available 7
         unreserve 1 at 1/11 of part => available 8, no excess
         unreserve 4 at 1/11 of part => available 9, excess 3
         reserve -1 at 1/11 on iv.softreserved unchecked => refused 1 given back, but 0 is reserved there
         then part 0

         reserve 5 at 1/11 on iv.softreserved as one
         reserve 4 at 1/11 on iv.softreserved as two
         reserve -5 at 1/11 on iv.softreserved unchecked => available 5
         unreserve 4 at 1/11 of two => available 9, no excess
         unreserve 5 at 1/11 of one => available 9, excess 5
         then iv.softreserved 0 at 1/11",
    );
    // A report of the user's own measure may take it below zero, and is believed.
    check(
        "iv.softreserved = iv.onhand - iv.softreserved - @iv.@allocated
         post iv.onhand+9 at 1/11
         reserve 5 at 1/11 on iv.softreserved as order
         post iv.softreserved-6 at 1/11
         unreserve 2 at 1/11 of order => excess 2
         then order 3
         then iv.softreserved -1 at 1/11",
    );
}
