//! Setting stock aside, and taking it.

use super::check;

#[test]
fn a_chain_limits_what_its_nodes_give() {
    check(
        "pool = iv.onhand - @iv.@allocated
         post iv.onhand+6 at 1/11/red/S
         post iv.onhand+4 at 1/11/red/L
         allocate 7 at 1/11/red   to Web => available 3, held 7/0/7/0, version 3
         allocate 4 at 1/11/red/L to Web => refused 4 asked for, 3 available, limited at siteId=1, locationId=11, colorId=red
         allocate 3 at 1/11/red/L to Web => available 0, held 3/0/3/0, version 4
         allocate 1 at 1/11       to Web => refused 1 asked for, 0 available, limited at siteId=1, locationId=11
         then @iv.@allocated     10 at 1/11
         then own @iv.@allocated  7 at 1/11/red
         then own @iv.@allocated  0 at 1/11
         then iv.onhand           0 at 1",
    );
}

#[test]
fn supply_above_a_node_cannot_meet_demand_at_it() {
    check(
        "post iv.onhand+5 at 1/11
         allocate 1 at 1/11/red to Web => refused 1 asked for, 0 available, limited at siteId=1, locationId=11, colorId=red
         allocate 4 at 1/11     to Web => available 1
         post iv.onhand+3 at 1/11/red => available 3
         allocate 3 at 1/11/red to Web => available 0, version 4
         allocate 2 at 1/11     to Web => refused 2 asked for, 1 available, limited at siteId=1, locationId=11
         then iv.onhand 8 at 1/11",
    );
}

#[test]
fn of_equally_low_nodes_the_deepest_is_named() {
    check(
        "post iv.onhand+2 at 1/11/red/S
         allocate 3 at 1/11/red/S to Web => refused 2 available, limited at siteId=1, locationId=11, colorId=red, sizeId=S",
    );
}

#[test]
fn the_chain_starts_at_the_required_dimensions() {
    check(
        "required = 0
         post iv.onhand+5 at / => available 5
         post iv.onhand-2 at 2/21 => available -2, version 2
         allocate 4 at / to Web => refused 4 asked for, 3 available, limited at the product as a whole
         allocate 3 at / to Web => available 0, version 3
         then iv.onhand  3 at /
         then iv.onhand -2 at 2
         then iv.onhand -2 at 2/21",
    );
    // Stock at a path that is shorter than required is in no other node, nor others in it.
    check(
        "post iv.onhand+9 at 1 => available 9, version 1
         post iv.onhand+1 at / => available 1, version 1
         post iv.onhand+2 at 1/11 => available 2, version 1
         post iv.onhand+2 at 1/12/red => available 2, version 1
         then iv.onhand 9 at 1
         then iv.onhand 1 at /
         allocate 3 at 1/11 to Web => refused 2 available
         allocate 1 at 1 to Web => refused /dimensions lacks locationId",
    );
}

#[test]
fn a_value_left_out_in_the_middle_is_a_place_of_its_own() {
    check(
        "post iv.onhand+3 at siteId=1,locationId=11,sizeId=L => available 3
         allocate 1 at 1/11/red to Web => refused 0 available
         allocate 2 at 1/11//L to Web => available 1
         allocate 1 at 1/11/ to Web => available 0
         then @iv.@allocated 3 at 1/11/",
    );
}

#[test]
fn unallocate_gives_back_what_the_group_holds_and_no_more() {
    check(
        "post iv.onhand+10 at 1/11
         allocate 8 at 1/11 to Web/VIP => available 2
         unallocate 9   at 1/11 from Web/VIP    => refused 9 asked for, 8 allocated to channel=Web, customerGroup=VIP
         unallocate 1   at 1/11 from Web        => refused 1 asked for, 0 allocated to channel=Web
         unallocate 1   at 1/11 from Web/VIP/EU => refused 0 allocated to channel=Web, customerGroup=VIP, region=EU
         unallocate 1   at 1/12 from Web/VIP    => refused 0 allocated to
         unallocate 2.5 at 1/11 from Web/VIP    => available 4.5, held 5.5/0/5.5/0
         unallocate 5.5 at 1/11 from Web/VIP    => available 10, held 0/0/0/0
         then @iv.@cumulative_allocated 0 at 1/11",
    );
}

#[test]
fn reallocate_hands_down_without_touching_the_pool() {
    check(
        "post iv.onhand+8 at 1/11/red
         allocate 8 at 1/11/red to Web/VIP => available 0
         reallocate 3 at 1/11/red from Web/VIP to Web/VIP/EU => available 0, left 5/0/5/0, held 3/0/3/0, version 3
         reallocate 6 at 1/11/red from Web/VIP to App => refused 6 asked for, 5 allocated to channel=Web, customerGroup=VIP
         reallocate 1 at 1/11     from Web/VIP to App => refused 1 asked for, 0 allocated
         reallocate 5 at 1/11/red from Web/VIP to App => left 0/0/0/0, held 5/0/5/0
         reallocate 2 at 1/11/red from App to Web/VIP => left 3/0/3/0, held 2/0/2/0
         then @iv.@allocated            8 at 1/11
         then @iv.@cumulative_allocated 8 at 1/11",
    );
}

#[test]
fn a_consume_is_neutral_to_the_pool() {
    check(
        "pool = fno.onordered + pos.inbound - @iv.@allocated
         post pos.inbound+10 at 1/11
         allocate 8 at 1/11 to Online/VIP/US => available 2
         consume 3 at 1/11 by Online/VIP/US with pos.inbound- => available 2, held 5/3/8/3
         then pos.inbound 7 at 1/11
         consume 3 at 1/11 by Online/VIP/US                    => refused would release 3 to the pool
         consume 3 at 1/11 by Online/VIP/US with pos.outbound- => refused would release 3 to the pool
         consume 3 at 1/11 by Online/VIP/US with pos.inbound+  => refused would release 6 to the pool
         consume 3 at 1/11 by Online/VIP/US with fno.onordered- => refused fno.onordered belongs to a data source that is read-only
         consume 6 at 1/11 by Online/VIP/US with pos.inbound-  => refused 6 asked for, 5 allocated to channel=Online, customerGroup=VIP, region=US
         consume 1 at 1/11 by Online/VIP    with pos.inbound-  => refused 1 asked for, 0 allocated to channel=Online
         consume 5 at 1/11 by Online/VIP/US with pos.inbound-,pos.outbound+ => available 2, held 0/8/8/8
         then pos.outbound 5 at 1/11",
    );
    check(
        "pool = iv.onhand - pos.outbound - @iv.@consumed - @iv.@allocated
         post iv.onhand+4 at 1/11/red
         allocate 4 at 1/11/red to Web
         consume 1 at 1/11/red by Web with pos.outbound+           => refused would deduct 1 from the pool twice
         consume 1 at 1/11/red by Web with iv.onhand-,pos.outbound+ => refused would deduct 2 from the pool twice
         consume 1 at 1/11/red by Web => available 0, held 3/1/4/1",
    );
    check(
        "pool = iv.onhand + 0.5 * pos.inbound - @iv.@allocated
         post iv.onhand+1,pos.inbound+4 at 1/11 => available 3
         allocate 3 at 1/11 to Web
         consume 1 at 1/11 by Web with pos.inbound- => refused would release 0.5",
    );
}

#[test]
fn a_pool_may_change_where_the_configuration_allows_it() {
    check(
        "pool changing consumption = allowed
         post iv.onhand+4 at 1/11
         allocate 4 at 1/11 to Web => available 0
         consume 3 at 1/11 by Web  => available 3, held 1/3/4/3
         consume 2 at 1/11 by Web  => refused 2 asked for, 1 allocated
         then iv.onhand 4 at 1/11",
    );
}

#[test]
fn what_is_allocated_is_protected_and_no_group_oversells() {
    check(
        "pool = iv.onhand - @iv.@softreserved - @iv.@allocated
         @iv.@softreserved = iv.onhand - @iv.@softreserved - @iv.@allocated
         post iv.onhand+10 at 1/11
         allocate 6 at 1/11 to Web => available 4
         allocate 5 at 1/11 to App => refused 5 asked for, 4 available
         reserve  5 at 1/11 on @iv.@softreserved => refused 5 asked for, 4 available for reservation, limited at siteId=1, locationId=11
         reserve  3 at 1/11 on @iv.@softreserved as order => available 1
         allocate 2 at 1/11 to App => refused 1 available
         consume 7 at 1/11 by Web with iv.onhand- => refused 7 asked for, 6 allocated
         consume 6 at 1/11 by Web with iv.onhand- => available 1, held 0/6/6/6
         consume 1 at 1/11 by Web with iv.onhand- => refused 1 asked for, 0 allocated
         then iv.onhand 4 at 1/11",
    );
}

#[test]
fn where_stock_shrinks_groups_still_consume_what_they_hold() {
    check(
        "post iv.onhand+10 at 1/11/red
         allocate 8 at 1/11/red to Web => available 2
         post iv.onhand-5 at 1/11/red => available -3
         allocate 0.000001 at 1/11/red to Web => refused 0.000001 asked for, -3 available
         allocate 1 at 1/11 to App => refused -3 available, limited at siteId=1, locationId=11
         reallocate 1 at 1/11/red from Web to App => available -3
         consume 7 at 1/11/red by Web with iv.onhand- => available -3, held 0/7/7/7
         then iv.onhand -2 at 1/11
         post iv.onhand+4 at 1/11/red => available 1
         allocate 1 at 1/11/red to Web => available 0, held 1/7/8/7",
    );
    // A parent that shrank limits what is below it, which still has its own.
    check(
        "post iv.onhand+5 at 1/11/red
         allocate 1 at 1/11/red to Web => available 4
         post iv.onhand-3 at 1/11 => available 1
         allocate 2 at 1/11/red to Web => refused 1 available, limited at siteId=1, locationId=11",
    );
}

#[test]
fn sums_stop_before_they_could_be_inexact() {
    check(
        "1000 times post iv.onhand+1e15 at 1/11
         then iv.onhand 1000000000000000000 at 1/11
         post iv.onhand+0.000001 at 1/11     => refused /quantities is 0.000001, which would lead to a sum beyond 10^18
         post iv.onhand+1        at 1/11/red => refused sum beyond 10^18
         set  iv.onhand=1        at 1/11/red => refused sum beyond 10^18
         post iv.onhand+1        at 1/12     => available 1
         1000 times post iv.onhand-1e15 at 1/11/red
         then iv.onhand 0 at 1/11
         post iv.onhand+1 at 1/11     => refused sum beyond 10^18
         post iv.onhand-1 at 1/11/red => refused sum beyond 10^18
         post iv.onhand-1 at 1/11     => available -1",
    );
    check(
        "pool = 2 * iv.onhand - @iv.@allocated
         1000 times post iv.onhand+1e15 at 1/11
         1000 times allocate 1e15 at 1/11 to Web
         allocate 1 at 1/11 to Web => refused sum beyond 10^18
         allocate 1 at 1/11 to App => refused sum beyond 10^18
         reallocate 1 at 1/11 from Web to App => available 1000000000000000000",
    );
}

#[test]
fn only_an_enabled_product_is_allocated_where_that_is_required() {
    check(
        "pool = pos.inbound - @iv.@allocated
         enabled products = required
         post pos.inbound+10 at 1/11
         allocate   1 at 1/11 to Web => refused the product Bike of usmf is not enabled for allocation
         enable
         allocate   8 at 1/11 to Web => available 2
         disable
         allocate   1 at 1/11 to Web => refused not enabled
         reallocate 3 at 1/11 from Web to Shop => available 2
         unallocate 1 at 1/11 from Web => available 3
         consume    2 at 1/11 by Shop with pos.inbound- => available 3
         enable
         allocate   3 at 1/11 to Web => available 0",
    );
}

#[test]
fn it_does_not_matter_where_it_is_not_required() {
    check(
        "pool = pos.inbound - @iv.@allocated
         post pos.inbound+10 at 1/11
         disable
         allocate 8 at 1/11 to Web => available 2",
    );
}
